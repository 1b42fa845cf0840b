"""Questions with their accepted answers, ready to be answered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL.Image import Image

from foveal.models import Batch, Processor, Turn

THUMBNAIL = 640


@dataclass(frozen=True)
class EvalItem:
    """One question: the conversation up to it, what is accepted as its answer, and whether the answer is counted."""

    key: str
    pictures: tuple[Image, ...]
    turns: tuple[Turn, ...]
    references: tuple[str, ...]
    counted: bool = True


@dataclass
class EvalBatch:
    """A batch of prompts with their references, questions and pictures.

    It is not frozen because Lightning sets the fields of a copy when it changes the dtype of a batch.

    Attributes:
        batch: prompts padded on the left.
        references: accepted answers of each prompt.
        questions: text of each question, to display.
        pictures: thumbnail of the first picture of each prompt, to display; None: text only.
        keys: names for messages.
        counted: number of prompts, from the first, whose answers are counted; the others only keep a rank busy.
        left_out: a message for every question that is missing because it cannot be used.
    """

    batch: Batch
    references: tuple[tuple[str, ...], ...]
    questions: tuple[str, ...]
    pictures: tuple[Image | None, ...]
    keys: tuple[str, ...]
    counted: int
    left_out: tuple[str, ...] = ()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "EvalBatch":
        """The same batch with its prompts on another device."""
        return replace(self, batch=self.batch.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "EvalBatch":
        """The same batch with its prompts in page-locked memory."""
        return replace(self, batch=self.batch.pin_memory())


def questions_of(key: str, pictures: Sequence[Image], turns: Sequence[Turn]) -> list[EvalItem]:
    """One item per answered question of a conversation; earlier answers are part of a later question's prompt."""
    items = []
    for position, turn in enumerate(turns):
        if turn.role == "assistant":
            before = tuple(turns[:position])
            shown = sum(earlier.text.count("<image>") for earlier in before)
            name = f"{key}#{position // 2 + 1}" if len(turns) > 2 else key
            items.append(EvalItem(name, tuple(pictures[:shown]), before, (turn.text,)))
    return items


def collate_questions(items: Sequence[EvalItem], processor: Processor) -> EvalBatch:
    """Collate items into a batch of prompts."""
    samples = [processor.encode_prompt(item.pictures, item.turns, key=item.key) for item in items]
    return EvalBatch(
        processor.collate(samples, side="left"),
        tuple(item.references for item in items),
        tuple(item.turns[-1].text.replace("<image>", "").strip() for item in items),
        tuple(_thumbnail(item.pictures[0]) if item.pictures else None for item in items),
        tuple(item.key for item in items),
        sum(item.counted for item in items),
    )


def blanked(batch: EvalBatch) -> EvalBatch:
    """The same questions with white views: they show what can be answered without seeing the pictures."""
    views = tuple(torch.full_like(view, 255) for view in batch.batch.views)
    return replace(batch, batch=replace(batch.batch, views=views))


def _thumbnail(picture: Image) -> Image:
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL * 2))
    return small

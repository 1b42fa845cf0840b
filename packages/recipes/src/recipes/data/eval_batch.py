"""Questions with their accepted answers, ready to be answered."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from PIL.Image import Image

from foveal.core import Box, Size
from foveal.models import Batch, Processor, Turn
from recipes.reading.crop import around

THUMBNAIL = 640
NUMBER = r"\s*(\d*\.?\d+)\s*"
REGION = re.compile(rf"\[{NUMBER},{NUMBER},{NUMBER},{NUMBER}\]")
"""A region in a question: left, top, right and bottom in widths and heights of the picture, `[0.1, 0.25, 0.4, 0.3]`."""


@dataclass(frozen=True)
class EvalItem:
    """One question: the conversation up to it, what is accepted as its answer, and whether the answer is counted."""

    key: str
    pictures: tuple[Image, ...]
    turns: tuple[Turn, ...]
    references: tuple[str, ...]
    counted: bool = True


class Display(NamedTuple):
    """What is shown of a picture that is asked about.

    It is a tuple because Lightning looks into the fields of a batch when it changes its dtype.

    Attributes:
        picture: thumbnail of the picture.
        box: the region that the question names, in pixels of the thumbnail; None: it names none.
        crop: the region with a margin, in pixels of the picture; smaller if it is larger than a thumbnail.
    """

    picture: Image
    box: Box | None = None
    crop: Image | None = None


@dataclass
class EvalBatch:
    """A batch of prompts with their references, questions and pictures.

    It is not frozen because Lightning sets the fields of a copy when it changes the dtype of a batch.

    Attributes:
        batch: prompts padded on the left.
        references: accepted answers of each prompt.
        questions: text of each question, to display.
        pictures: the first picture of each prompt, to display; None: text only.
        keys: names for messages.
        counted: number of prompts, from the first, whose answers are counted; the others only keep a rank busy.
        left_out: a message for every question that is missing because it cannot be used.
    """

    batch: Batch
    references: tuple[tuple[str, ...], ...]
    questions: tuple[str, ...]
    pictures: tuple[Display | None, ...]
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
        tuple(map(_question, items)),
        tuple(map(_display, items)),
        tuple(item.key for item in items),
        sum(item.counted for item in items),
    )


def blanked(batch: EvalBatch) -> EvalBatch:
    """The same questions with white views: they show what can be answered without seeing the pictures."""
    views = tuple(torch.full_like(view, 255) for view in batch.batch.views)
    return replace(batch, batch=replace(batch.batch, views=views))


def _question(item: EvalItem) -> str:
    return item.turns[-1].text.replace("<image>", "").strip()


def _display(item: EvalItem) -> Display | None:
    if not item.pictures:
        return None
    picture, found = item.pictures[0], REGION.search(_question(item))
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL * 2))
    left, top, right, bottom = map(float, found.groups()) if found else (0.0, 0.0, 0.0, 0.0)

    def on(shown: Image) -> Box:
        return Box(left * shown.width, top * shown.height, right * shown.width, bottom * shown.height)

    region = on(picture).overlap(Box.whole(Size.of(picture.size)))
    # Of several pictures, the question does not say which one it means.
    if region is None or max(right, bottom) > 1 or len(item.pictures) > 1:
        return Display(small)
    crop = around(region, picture)
    crop.thumbnail((THUMBNAIL, THUMBNAIL * 2))
    return Display(small, on(small), crop)

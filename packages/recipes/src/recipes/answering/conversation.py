"""A conversation about pictures: what was said, what is asked next, and all of it as records to train on."""

from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from foveal.models import Turn
from foveal.models.prompts.templates import PLACEHOLDER, find_template, with_pictures


@dataclass(frozen=True)
class Picture:
    """A picture (RGB) and the whole path of its file."""

    path: Path
    image: Image


@dataclass(frozen=True)
class Exchange:
    """A question, with `<image>` where its pictures stand, and its answer."""

    question: str
    pictures: tuple[Picture, ...]
    answer: str


class Conversation:
    """Questions and answers so far, and the pictures that wait for the next question.

    Args:
        template: name of the prompt template that the model was trained with.

    Attributes:
        template: as given.
        exchanges: questions that have their answer.
        waiting: pictures of the next question.
        file: where this conversation was saved; none yet.

    Raises:
        ValueError: if there is no such template.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        self.has_turns = find_template(template).shows_user
        self.reset()

    def reset(self) -> None:
        """Forget what was said, and all pictures."""
        self.exchanges: list[Exchange] = []
        self.waiting: list[Picture] = []
        self.file: Path | None = None

    def prompt(self, question: str) -> tuple[list[Image], list[Turn]]:
        """What the model gets: pictures in the order of their `<image>`, and the turns up to this question.

        Under a template without turns these are the question and its own pictures only.

        Args:
            question: `<image>` in it places the waiting pictures; without, they stand before it.

        Raises:
            ValueError: if the question is not UTF-8, has `<image>` but not once per waiting picture, or has no picture
                where the template shows nothing else.
        """
        before = self.exchanges if self.has_turns else []
        pictures = [picture.image for exchange in before for picture in exchange.pictures]
        turns = []
        for exchange in before:
            turns += [Turn("user", exchange.question), Turn("assistant", exchange.answer)]
        turns.append(Turn("user", self._placed(question)))
        return pictures + [picture.image for picture in self.waiting], turns

    def keep(self, question: str, answer: str) -> None:
        """Take question and answer into the conversation; the waiting pictures are then part of it.

        Raises:
            ValueError: if the answer is empty or holds `<image>`, which no conversation could go on from.
        """
        answer = answer.strip()
        if not answer or PLACEHOLDER in answer:
            fault = f"holds {PLACEHOLDER}" if answer else "is empty"
            raise ValueError(f"the answer {fault}: the question counts as not asked, its pictures wait for the next")
        self.exchanges.append(Exchange(self._placed(question), tuple(self.waiting), answer))
        self.waiting = []

    def records(self, name: str, folder: Path) -> list[dict[str, object]]:
        """The conversation in LLaVA's format, as `recipes.data.records` reads it.

        One record, or under a template without turns one for every exchange. Pictures are named from `folder` if all
        lie in it, and otherwise by their whole paths.

        Args:
            name: the record's id; several are numbered.
            folder: the whole path of where the records will lie.

        Raises:
            ValueError: if nothing was answered yet.
        """
        if not self.exchanges:
            raise ValueError("there is no answer to be saved yet")
        groups = [self.exchanges] if self.has_turns else [[exchange] for exchange in self.exchanges]
        within = self.lies_in(folder)
        records = []
        for number, group in enumerate(groups, start=1):
            paths = [picture.path for exchange in group for picture in exchange.pictures]
            names = [(path.relative_to(folder) if within else path).as_posix() for path in paths]
            record: dict[str, object] = {"id": name if len(groups) == 1 else f"{name}-{number}"}
            if names:
                record["image"] = names[0] if len(names) == 1 else names
            spoken = []
            for exchange in group:
                spoken.append({"from": "human", "value": exchange.question})
                spoken.append({"from": "gpt", "value": exchange.answer})
            records.append(record | {"conversations": spoken})
        return records

    def lies_in(self, folder: Path) -> bool:
        """Whether all pictures that were asked about lie in the folder of this whole path."""
        return all(picture.path.is_relative_to(folder) for exchange in self.exchanges for picture in exchange.pictures)

    def _placed(self, question: str) -> str:
        try:
            question.encode()
        except UnicodeEncodeError as error:
            raise ValueError("the question is not UTF-8: type or save it as such") from error
        placed, waiting = question.count(PLACEHOLDER), len(self.waiting)
        if placed and placed != waiting:
            raise ValueError(
                f"the question has {PLACEHOLDER} {placed} times and {waiting} new pictures: "
                "once for each, or not at all, and they stand before it"
            )
        if not (waiting or self.has_turns):
            raise ValueError(f"the template {self.template} shows the model pictures only: add one with /image PATH")
        return with_pictures(question, waiting)

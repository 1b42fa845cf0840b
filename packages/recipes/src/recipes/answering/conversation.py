"""A conversation about pictures: its history, the next prompt, and records to train on."""

from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from foveal.models import Turn
from foveal.models.prompts.template_texts import shows_user
from foveal.models.prompts.templates import PLACEHOLDER, with_pictures


@dataclass(frozen=True)
class Picture:
    """A picture (RGB) and the absolute path of its file."""

    path: Path
    image: Image


@dataclass(frozen=True)
class Exchange:
    """A question, with `<image>` where its pictures go, and its answer."""

    question: str
    pictures: tuple[Picture, ...]
    answer: str


class Conversation:
    """The questions and answers so far, and the pictures waiting for the next question.

    Args:
        template: name of the prompt template that the model was trained with.

    Attributes:
        template: as given.
        exchanges: questions with their answers.
        waiting: pictures of the next question.
        file: where this conversation was saved; None if it was not.

    Raises:
        ValueError: if there is no such template.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        self.has_turns = shows_user(template)
        self.reset()

    def reset(self) -> None:
        """Forget the conversation and all pictures."""
        self.exchanges: list[Exchange] = []
        self.waiting: list[Picture] = []
        self.file: Path | None = None

    def prompt(self, question: str) -> tuple[list[Image], list[Turn]]:
        """The model's input: pictures in the order of their `<image>`, and the turns up to this question.

        With a template without turns, only the question and its own pictures.

        Args:
            question: `<image>` in it places the waiting pictures; without it, they come first.

        Raises:
            ValueError: if the question is not UTF-8, has `<image>` but not once per waiting picture, or has no picture
                although the template shows the model pictures only.
        """
        before = self.exchanges if self.has_turns else []
        pictures = [picture.image for exchange in before for picture in exchange.pictures]
        turns = []
        for exchange in before:
            turns += [Turn("user", exchange.question), Turn("assistant", exchange.answer)]
        turns.append(Turn("user", self._placed(question)))
        return pictures + [picture.image for picture in self.waiting], turns

    def keep(self, question: str, answer: str) -> None:
        """Add question, answer and the waiting pictures to the conversation.

        Raises:
            ValueError: if the answer is empty or contains `<image>`: the conversation could not continue from it.
        """
        answer = answer.strip()
        if not answer or PLACEHOLDER in answer:
            fault = f"contains {PLACEHOLDER}" if answer else "is empty"
            raise ValueError(f"the answer {fault}: the question is dropped, its pictures go with the next one")
        self.exchanges.append(Exchange(self._placed(question), tuple(self.waiting), answer))
        self.waiting = []

    def records(self, name: str, folder: Path) -> list[dict[str, object]]:
        """The conversation in LLaVA's format, as `recipes.data.index` reads it.

        One record; with a template without turns, one per exchange. Pictures are named relative to `folder` if all of
        them are in it, otherwise by their absolute paths.

        Args:
            name: the record's id; several are numbered.
            folder: absolute path of the folder in which the records will be saved.

        Raises:
            ValueError: if nothing was answered yet.
        """
        if not self.exchanges:
            raise ValueError("there is no answer to save yet")
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
        """Whether all pictures of the conversation are in `folder`, an absolute path."""
        return all(picture.path.is_relative_to(folder) for exchange in self.exchanges for picture in exchange.pictures)

    def _placed(self, question: str) -> str:
        try:
            question.encode()
        except UnicodeEncodeError as error:
            raise ValueError("the question is not UTF-8: type or save it as such") from error
        placed, waiting = question.count(PLACEHOLDER), len(self.waiting)
        if placed and placed != waiting:
            raise ValueError(
                f"the question has {PLACEHOLDER} {placed} times, but {waiting} new pictures: "
                "give it once per picture, or not at all, and the pictures come first"
            )
        if not (waiting or self.has_turns):
            raise ValueError(f"the template {self.template} shows the model pictures only: add one with /image PATH")
        return with_pictures(question, waiting)

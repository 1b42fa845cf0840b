"""Questions from a file of any kind that is read, each with its pictures and what was said before it."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.models import BadImageError, Turn
from foveal.models.prompts.templates import PLACEHOLDER, with_pictures
from recipes.data.shapes import TALKS, read_shape
from recipes.reading.clean_text import clean_text
from recipes.reading.keys import refuse_meant_keys
from recipes.reading.open_reader import open_reader
from recipes.reading.pictures import Source, named_pictures, picture_size

KEYS = ("id", "image", "images", "question")


@dataclass(frozen=True)
class Question:
    """One question about pictures.

    Attributes:
        key: its id, or its record's number; `KEY#2` for the second question of a conversation.
        text: the question as people read it, without `<image>`, unless its record has it.
        turns: the conversation up to the question, which is the last turn, with `<image>` for every picture.
        pictures: names of the pictures, in their order.
        where: its file and record, for messages.
    """

    key: str
    text: str
    turns: tuple[Turn, ...]
    pictures: tuple[str, ...] = ()
    where: str = ""


class Unusable:
    """What happens to questions that cannot be answered.

    Args:
        skips: whether they are left out and named on standard error; otherwise the first one is an error.

    Attributes:
        number: how many were left out.
    """

    def __init__(self, skips: bool = False) -> None:
        self.skips, self.number = skips, 0

    def add(self, error: ValueError) -> None:
        """Count a question, or raise the error."""
        if not self.skips:
            raise error
        self.number += 1
        sys.stderr.write(f"left out: {error}\n")


class QuestionFile:
    """The questions of a file or folder that `open_reader` opens.

    A record is an object with `question`, and optionally `id` and `image` or `images` (a name or a list of names; null
    and `""` mean no picture); or a conversation as for training (`recipes.data.shapes`), every user turn of which is a
    question, with the turns before it, also a last one without an answer.

    Args:
        path: the file or folder.
        images: folder of the pictures; None: the file's own.
        unusable: what happens to records that are no questions, or name pictures that cannot be used.

    Raises:
        ValueError: as for `open_reader`.
        ImportError: as for `open_reader`.
        OSError: if the file cannot be read.
    """

    def __init__(self, path: Path, images: Path | None, unusable: Unusable) -> None:
        self.path, self.unusable = path, unusable
        self.reader = open_reader(path, images, questions=True)

    def read(self) -> list[Question]:
        """All questions, in order.

        Raises:
            ValueError: if the file cannot be read or is empty; unless they are left out, for a record that is no
                question, whose text cannot be read, or that names a picture that is missing or whose header shows that
                it cannot be used; the message has file and record.
            OSError: if the file cannot be read.
        """
        found: list[Question] = []
        empty = True
        for number, where, record in self.reader.records():
            empty = False
            try:
                asked = list(_questions(record, where, number))
                for name in dict.fromkeys(name for question in asked for name in question.pictures):
                    self._check(name, where)
            except ValueError as error:
                self.unusable.add(error)
            else:
                found += asked
        if empty:
            raise ValueError(f"{self.path} has no questions")
        return found

    def sources(self, question: Question) -> list[Source]:
        """The pictures of a question.

        Raises:
            ValueError: naming the record, if one is missing or may not be read.
        """
        return [self.reader.picture(name, f"{question.where}, image") for name in question.pictures]

    def _check(self, name: str, where: str) -> None:
        source = self.reader.picture(name, f"{where}, image")
        try:
            picture_size(source)
        except BadImageError as error:
            raise BadImageError(f"{where}, image: {error}") from error


def _questions(record: Any, where: str, number: int) -> Iterator[Question]:
    """The questions of one record."""
    talks = isinstance(record, dict) and any(record.get(name) is not None for name in TALKS)
    if not talks and (not isinstance(record, dict) or not isinstance(record.get("question"), str)):
        raise ValueError(f'{where}: expected an object with a text "question", or a conversation')
    key = clean_text(str(number if record.get("id") is None else record["id"]), f"{where}, id")
    if not talks:
        refuse_meant_keys(record, KEYS, where)
        text = clean_text(record["question"], f"{where}, question")
        names = named_pictures(record, where)
        yield Question(key, text, (Turn("user", with_pictures(text, len(names))),), tuple(names), where)
        return
    names, turns = read_shape(record, where, open_ended=True)
    asked = [position for position, turn in enumerate(turns) if turn.role == "user"]
    for place, position in enumerate(asked, start=1):
        before = tuple(turns[: position + 1])
        shown = sum(turn.text.count(PLACEHOLDER) for turn in before)
        yield Question(
            key if len(asked) == 1 else f"{key}#{place}",
            before[-1].text.replace(PLACEHOLDER, "").strip(),
            before,
            tuple(names[:shown]),
            where,
        )

"""Where an answer stands in a document whose lines have boxes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from foveal.core import Box
from recipes.benchmarks.derived.boxes import box_of
from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.rows.row import Row, a_list, shown

BETWEEN = re.compile(r"[\s,;:]+")
SHORTEST = 4
"""Characters of a line that may be a part of a longer text; `NO` is in too many addresses."""


class LinePlaces(Derived):
    """Adds `places`: the boxes of the lines that hold a text of the answer, or a part of it as an address has several.

    Such lines that follow each other share one box. A text that stands in no line as it is written has none.

    Args:
        field: the lines, from the first: objects with `box` (left, top, right, bottom, in pixels) and `text`; a row
            without it has no places.
        answer: an object whose values are texts, or a text.
    """

    names = ("places",)

    def __init__(self, field: str, answer: str) -> None:
        self.field, self.answer = field, answer

    def values(self, row: Row) -> Mapping[str, Any]:
        if (lines := row.fields.get(self.field)) is None:
            return {"places": ()}
        answer, where = row.of(self.answer), f"{row.where}, {self.field}"
        read = [_read(line, f"{where}, line {number}") for number, line in enumerate(a_list(lines, where), start=1)]
        texts = answer.values() if isinstance(answer, Mapping) else [answer]
        found = [box for text in texts if isinstance(text, str) for box in _places(_words(text), read)]
        return {"places": tuple(dict.fromkeys(found))}


def _read(line: Any, where: str) -> tuple[Box, str]:
    box, text = (line.get("box"), line.get("text")) if isinstance(line, Mapping) else (None, None)
    if not isinstance(text, str) or box is None:
        raise ValueError(f"{where}: a box of four numbers and a text are expected, not {shown(line)}")
    return box_of(box, f"{where}, box"), _words(text)


def _words(text: str) -> str:
    """The words with one space around each, so that a text is found in another by whole words."""
    return f" {' '.join(word for word in BETWEEN.split(text.casefold()) if word)} "


def _places(text: str, lines: Sequence[tuple[Box, str]]) -> Iterator[Box]:
    if text.isspace():
        return
    run: list[Box] = []
    for box, line in (*lines, (Box(0, 0, 0, 0), "")):
        if text in line or (len(line.strip()) >= SHORTEST and line in text):
            run.append(box)
        elif run:
            lefts, tops, rights, bottoms = zip(*run, strict=True)
            yield Box(min(lefts), min(tops), max(rights), max(bottoms))
            run = []

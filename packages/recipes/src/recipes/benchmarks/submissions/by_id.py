"""A JSON dictionary of answers by id."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipes.benchmarks.item import Item
from recipes.benchmarks.submission import Submission
from recipes.metrics.choice_parsers import PARSERS, ChoiceParser

NOTHING = -1
"""Index of an answer that chooses none: it is no option's, so it counts as wrong."""


class AnswersById(Submission):
    """`{id: answer}`, as the judge of MM-Vet, MMMU and the server of EgoSchema take it; a missing answer is empty.

    Args:
        parser: for questions with `options`, the letter that an answer chooses takes its place; null: answers stay.
        index: the index of that letter, from 0, takes its place, or -1 if it chooses none.
        inner: value that the id has after a first one, for a dictionary within each entry: `{first: {second: answer}}`.
        outer: value with the first id, if `inner` is given.
        file: name of the file.
    """

    def __init__(
        self,
        parser: ChoiceParser | None = None,
        *,
        index: bool = False,
        outer: str | None = None,
        inner: str | None = None,
        file: str = "submission.json",
    ) -> None:
        if (outer is None) != (inner is None):
            raise ValueError("outer and inner belong together: give both or none")
        self.parser, self.index, self.outer, self.inner, self.file = parser, index, outer, inner, file

    def write(self, items: Sequence[Item], answers: Sequence[str | None], path: Path) -> None:
        found: dict[str, Any] = {}
        for item, answer in zip(items, answers, strict=True):
            said = self._said(item, answer)
            if self.outer is None or self.inner is None:
                found[item.key] = said
            else:
                found.setdefault(str(item.values[self.outer]), {})[str(item.values[self.inner])] = said
        path.write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")

    def _said(self, item: Item, answer: str | None) -> str | int:
        options = item.values.get("options")
        if self.parser is None or not options:
            return answer or ""
        letter = None if answer is None else PARSERS[self.parser](answer, options)
        if self.index:
            return NOTHING if letter is None else ord(letter) - ord("A")
        return letter or ""

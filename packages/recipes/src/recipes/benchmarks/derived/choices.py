"""The options of a multiple-choice question."""

from collections.abc import Mapping, Sequence
from typing import Any

from recipes.benchmarks.derived.answers import read_list
from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.rows.row import Row, shown
from recipes.metrics.choice_parsers import letters_of


class Choices(Derived):
    """Adds `options` (a list of texts), `lines` (`A. first`, one on each line), and the right letter, `answer`.

    Args:
        options: the field with the list, or with a text that is a Python list; or a field for each of them, which end
            at the first that is missing or empty.
        answer: field with the right letter, or its index from 0; null: answers are held back.
        missing: texts that stand for an empty field, where a table has lost the difference.
        lettered: options begin with their letters, which are removed: `A. first`.
        empty: a question may have no options; it then has no letter, and `lines` is empty.
    """

    def __init__(
        self,
        options: str | Sequence[str],
        answer: str | None = "answer",
        *,
        missing: Sequence[str] = (),
        lettered: bool = False,
        empty: bool = False,
    ) -> None:
        self.options, self.answer, self.lettered, self.empty = options, answer, lettered, empty
        self.missing = (None, "", *missing)
        self.names = ("options", "lines") if answer is None else ("options", "lines", "answer")

    def values(self, row: Row) -> Mapping[str, Any]:
        texts = self._texts(row)
        if not texts and self.empty:
            return {"options": [], "lines": ""}
        try:
            letters = letters_of(texts)
        except ValueError as error:
            raise ValueError(f"{row.where}, {self.options}: {error}") from error
        lines = [f"{letter}. {text}" for letter, text in zip(letters, texts, strict=True)]
        values = {"options": texts, "lines": "\n".join(lines)}
        return values if self.answer is None else values | {"answer": self._letter(row, self.answer, letters)}

    def _texts(self, row: Row) -> list[str]:
        if isinstance(self.options, str):
            found = read_list(row, self.options)
            if not isinstance(found, list):
                raise ValueError(f"{row.where}, {self.options}: a list is expected, not {shown(found)}")
            texts = [str(each) for each in found]
        else:
            texts = []
            row.of(self.options[0])
            for field in self.options:
                if row.fields.get(field) in self.missing:
                    break
                texts.append(row.text(field))
        if self.lettered:
            texts = [self._without_letter(row, number, text) for number, text in enumerate(texts)]
        return texts

    def _without_letter(self, row: Row, number: int, text: str) -> str:
        letter = chr(ord("A") + number)
        if not text.startswith(f"{letter}. "):
            raise ValueError(
                f"{row.where}, {self.options}: option {number + 1} should begin with '{letter}. ': {text!r:.60}"
            )
        return text[3:]

    def _letter(self, row: Row, field: str, letters: str) -> str:
        said = row.text(field)
        if said.isascii() and said.isdigit() and int(said) < len(letters):
            return letters[int(said)]
        if len(said) != 1 or said not in letters:
            raise ValueError(f"{row.where}, {field}: the right letter is expected, one of {letters}, not {said!r:.60}")
        return said

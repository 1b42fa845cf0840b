"""Texts that prompts are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.rows.row import Row


class Sentence(Derived):
    """Adds a text with its first letter in upper case and all others in lower case, as lmms-eval asks some questions.

    Args:
        name: of the value.
        field: that holds the text.
        ending: added at the end, such as a question mark.
    """

    def __init__(self, name: str = "sentence", field: str = "question", *, ending: str = "") -> None:
        self.names, self.name, self.field, self.ending = (name,), name, field, ending

    def values(self, row: Row) -> Mapping[str, Any]:
        return {self.name: row.text(self.field).capitalize() + self.ending}


class IfThere(Derived):
    """Adds a text around a field, or an empty text if the field is missing or empty.

    Args:
        name: of the value.
        field: a text, or a list of texts, which are joined by a comma and a space.
        form: the text, with `{}` for the field.
        missing: texts that stand for an empty field, where a table has lost the difference.
    """

    def __init__(self, name: str, field: str, form: str = "{}", *, missing: Sequence[str] = ()) -> None:
        self.names, self.name, self.field, self.form = (name,), name, field, form
        self.missing = (None, "", *missing)

    def values(self, row: Row) -> Mapping[str, Any]:
        value = row.fields.get(self.field)
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        return {self.name: self.form.replace("{}", str(value)) if value not in self.missing else ""}


class WithoutEnding(Derived):
    """Adds a text without its end, for files of questions whose texts hold the whole prompt.

    Args:
        ending: the end.
        name: of the value.
        field: that holds the text.
    """

    def __init__(self, ending: str, name: str = "question", field: str = "text") -> None:
        self.names, self.ending, self.name, self.field = (name,), ending, name, field

    def values(self, row: Row) -> Mapping[str, Any]:
        text = row.text(self.field)
        if not text.endswith(self.ending):
            raise ValueError(
                f"{row.where}, {self.field}: should end in {self.ending!r:.100}, but ends in {text[-60:]!r}"
            )
        return {self.name: text.removesuffix(self.ending)}

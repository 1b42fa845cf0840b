"""Values that hardly depend on a row's fields."""

from collections.abc import Mapping
from typing import Any

from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.rows.row import Row


class Fixed(Derived):
    """Adds the same values to all questions, such as arguments of a metric that a benchmark has no fields for.

    Args:
        same: the values, by name.
    """

    def __init__(self, same: Mapping[str, str | bool | None]) -> None:
        self.same, self.names = dict(same), tuple(same)

    def values(self, row: Row) -> Mapping[str, Any]:
        return self.same


class Whole(Derived):
    """Adds a whole number, also of a text such as a table has.

    Args:
        name: of the value.
        field: that holds it.
    """

    def __init__(self, name: str, field: str) -> None:
        self.names, self.name, self.field = (name,), name, field

    def values(self, row: Row) -> Mapping[str, Any]:
        text = row.text(self.field)
        try:
            return {self.name: int(text)}
        except ValueError as error:
            raise ValueError(f"{row.where}, {self.field}: a whole number is expected, not {text!r:.60}") from error


class Modality(Derived):
    """Adds `modality`: `image` if a field with a picture is not empty, else `text`.

    Args:
        field: the picture's.
    """

    names = ("modality",)

    def __init__(self, field: str = "image") -> None:
        self.field = field

    def values(self, row: Row) -> Mapping[str, Any]:
        return {"modality": "text" if row.of(self.field) in (None, "", []) else "image"}


class Initial(Derived):
    """Adds the first letter of a text, such as the kind of NExT-QA's types: C, T, D.

    Args:
        name: of the value.
        field: that holds the text.
    """

    def __init__(self, name: str, field: str) -> None:
        self.names, self.name, self.field = (name,), name, field

    def values(self, row: Row) -> Mapping[str, Any]:
        return {self.name: row.text(self.field)[:1]}

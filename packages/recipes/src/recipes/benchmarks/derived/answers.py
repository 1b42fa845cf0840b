"""The accepted answers of a question, however a file writes them."""

from ast import literal_eval
from collections.abc import Mapping, Sequence
from typing import Any

from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.rows.row import Row, shown


class Answers(Derived):
    """Adds `answers`, a list of texts.

    Args:
        field: a text, a number, a list of them, or a list of objects.
        under: key of the text in each of these objects; null: they are no objects.
        literal: the field is a text that is a Python list, as in some tables.
        more: fields with one more answer each, unless they are missing or empty.
    """

    names = ("answers",)

    def __init__(
        self,
        field: str = "answers",
        *,
        under: str | None = None,
        literal: bool = False,
        more: Sequence[str] = (),
    ) -> None:
        self.field, self.under, self.literal, self.more = field, under, literal, more

    def values(self, row: Row) -> Mapping[str, Any]:
        found = read_list(row, self.field) if self.literal else row.of(self.field)
        each = found if isinstance(found, list) else [found]
        if not each:
            raise ValueError(f"{row.where}, {self.field}: there is no answer")
        rows = [row._replace(fields={self.field: value}) for value in each]
        if self.under is not None:
            rows = [row._replace(fields=self._object(row, value)) for value in each]
        texts = [one.text(self.field if self.under is None else self.under) for one in rows]
        return {"answers": texts + [row.text(each) for each in self.more if row.fields.get(each) not in (None, "")]}

    def _object(self, row: Row, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError(f"{row.where}, {self.field}: objects with {self.under!r} are expected, not {shown(value)}")
        return value


def read_list(row: Row, field: str) -> Any:
    """A field that holds a list, or a text that is a Python list; any other text is returned as it is.

    Raises:
        ValueError: naming file and field, if it is missing, or begins like a list but is none.
    """
    value = row.of(field)
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        found = literal_eval(value.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"{row.where}, {field}: a list is expected, not {shown(value)}") from error
    return found

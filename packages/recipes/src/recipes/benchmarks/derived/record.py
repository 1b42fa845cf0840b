"""The record that an answer should hold."""

import json
from collections.abc import Mapping
from typing import Any

from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.rows.row import Row, shown


class TrueRecord(Derived):
    """Adds `record`, an object of fields.

    Args:
        field: an object, or a text that is JSON.
        under: key of the record in it; null: it is the record.
    """

    names = ("record",)

    def __init__(self, field: str, *, under: str | None = None) -> None:
        self.field, self.under = field, under

    def values(self, row: Row) -> Mapping[str, Any]:
        found = row.of(self.field)
        if isinstance(found, str):
            try:
                found = json.loads(found)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{row.where}, {self.field}: not JSON ({str(error)[:100]})") from error
        if self.under is not None and isinstance(found, Mapping):
            found = Row(f"{row.where}, {self.field}", row.number, found).of(self.under)
        if not isinstance(found, Mapping):
            raise ValueError(f"{row.where}, {self.field}: an object of fields is expected, not {shown(found)}")
        return {"record": found}

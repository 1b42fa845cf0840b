"""Rows of several files, one after the other or side by side."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from recipes.benchmarks.rows.row import NoFileError, Row, Rows


class PartRows(Rows):
    """Several files of the same layout, one after the other.

    Args:
        parts: the rows of each part, by its name.
        field: field that the name of the part goes into.
    """

    def __init__(self, parts: Mapping[str, Rows], field: str) -> None:
        self.parts, self.field = parts, field

    def rows(self, folder: Path) -> Iterator[Row]:
        for position, (name, part) in enumerate(self.parts.items()):
            try:
                for row in part.rows(folder):
                    yield row._replace(fields={**row.fields, self.field: name})
            except NoFileError as error:
                if position == 0:
                    raise
                raise ValueError(f"the part {name!r} is missing: {error}") from error


class JoinedRows(Rows):
    """Rows of one file, with the fields of the row of another file that has the same id.

    Args:
        rows: of the first file.
        other: of the other file; its fields come after the first one's, and do not replace them.
        key: template of the id in the first file, such as `{question_id}`.
        other_key: template of the id in the other file; null: the same.
        unmatched: what happens to rows of the first file that the other lacks: `refuse`, or `leave_out`, where the
            other file defines a subset.
    """

    def __init__(
        self,
        rows: Rows,
        other: Rows,
        key: str,
        other_key: str | None = None,
        unmatched: Literal["refuse", "leave_out"] = "refuse",
    ) -> None:
        self.first, self.other, self.key, self.other_key, self.unmatched = rows, other, key, other_key or key, unmatched

    def rows(self, folder: Path) -> Iterator[Row]:
        others: dict[str, Mapping[str, Any]] | None = None
        last = ""
        for row in self.first.rows(folder):
            if others is None:
                others, last = self._others(folder)
            key = row.filled(self.key)
            if key in others:
                yield row._replace(fields={**others[key], **row.fields})
            elif self.unmatched == "refuse":
                raise ValueError(f"{row.where}: {self.key} is {key!r:.60}, which is not in the file of {last}")

    def _others(self, folder: Path) -> tuple[dict[str, Mapping[str, Any]], str]:
        found: dict[str, Mapping[str, Any]] = {}
        last = ""
        try:
            for row in self.other.rows(folder):
                key, last = row.filled(self.other_key), row.where
                if key in found:
                    raise ValueError(f"{row.where}: {self.other_key} is {key!r:.60} for the second time")
                found[key] = row.fields
        except NoFileError as error:
            # The questions are there: it is this file that is missing, not the layout.
            raise ValueError(str(error)) from error
        return found, last

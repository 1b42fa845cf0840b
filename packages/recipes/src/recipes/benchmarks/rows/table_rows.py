"""Rows of CSV and TSV files."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recipes.benchmarks.pictures import WrittenPicture
from recipes.benchmarks.rows.row import Row, Rows, found

LONGEST = 30_000_000
"""Characters of a cell; pictures are written out in them."""


class TableRows(Rows):
    """A CSV or, by the suffix, TSV file with a line of names. Only an empty cell is missing (null): the words "NA",
    "nan" and "none" are texts.

    Args:
        files: names of the file; the first that is there is read.
        picture: column with a picture in base64, or with the `id` of the row that has it; null: there is none.
        id: column with the rows' ids.
    """

    def __init__(self, files: Sequence[str], *, picture: str | None = None, id: str = "index") -> None:
        self.files, self.picture, self.id = files, picture, id

    def rows(self, folder: Path) -> Iterator[Row]:
        path = found(folder, self.files)
        rows = _rows(path)
        if self.picture is None:
            yield from rows
            return
        pictures = {row.text(self.id): row.of(self.picture) for row in rows}
        for row in rows:
            yield row._replace(fields={**row.fields, self.picture: self._picture(row, self.picture, pictures)})

    def _picture(self, row: Row, column: str, pictures: dict[str, Any]) -> WrittenPicture | None:
        written = row.of(column)
        if written in pictures:
            if pictures[written] in pictures:
                raise ValueError(f"{row.where}, {column}: names the row {written}, which has no picture of its own")
            written = pictures[written]
        return None if written is None else WrittenPicture(written, f"{row.where}, {column}")


def _rows(path: Path) -> list[Row]:
    """All rows; the limit on cells is one for the whole process, so it must not be left changed while rows are used."""
    before = csv.field_size_limit(LONGEST)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ",")
            rows = []
            for number, cells in enumerate(reader, start=1):
                where = f"{path}, line {reader.line_num}"
                if None in cells or None in cells.values():
                    raise ValueError(f"{where}: there are more or fewer cells than names in the first line")
                rows.append(Row(where, number, {name: cell or None for name, cell in cells.items()}))
            return rows
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    except csv.Error as error:
        raise ValueError(f"{path}: not read as a table ({error})") from error
    finally:
        csv.field_size_limit(before)

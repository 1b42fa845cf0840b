"""Read records from Parquet, with their pictures in it or beside it."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from recipes.reading.arrow_rows import Columns
from recipes.reading.extras import extra
from recipes.reading.table_reader import TableReader, named_errors

ROWS, HELD = 32, 64_000_000
"""Rows that a process decodes at a time and keeps, fewer if they could have more bytes than this.

With a dictionary, every row may repeat the largest value of its group.
"""
BLOCK = 1 << 20
"""Bytes that are read from a file at a time."""


class ParquetReader(TableReader):
    """Records of Parquet files; columns are keys, and pictures are embedded or named.

    A row group can only be decoded from its first row: half of it on average for a picture in random order. Small
    groups (of about 100 pictures) make that quick.

    Args:
        path: the file or folder that the user has named.
        files: one or more Parquet files, in the order of their records.
        images: folder that the names of pictures are relative to.
        choose: chooses the columns, such as `columns_to_read`.

    Raises:
        ValueError: naming file and column, for what is not Parquet, and for columns that cannot be used; if there is
            no image folder.
        ImportError: without pyarrow.
        OSError: if a file cannot be read.
    """

    def __init__(self, path: Path, files: list[Path], images: Path, choose: Columns) -> None:
        columns, sizes = list[list[str]](), list[list[int]]()
        for file in files:
            with named_errors(file), _opened(file) as opened:
                columns.append(choose(opened.schema_arrow))
                footer = opened.metadata
                sizes.append([footer.row_group(group).num_rows for group in range(footer.num_row_groups)])
        super().__init__(path, images, files, columns, [sum(each) for each in sizes])
        self._groups = [(file, group) for file, each in enumerate(sizes) for group in range(len(each))]
        self._group_starts = [0, *accumulate(rows for each in sizes for rows in each)]
        self._rows: _Rows | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_rows": None}

    def row(self, number: int) -> tuple[Any, int]:
        place = bisect_right(self._group_starts, number - 1) - 1
        position = number - 1 - self._group_starts[place]
        if self._rows is None or not self._rows.reaches(place, position):
            file, group = self._groups[place]
            self._rows = _Rows(place, self.tables[file], group, self.columns[file])
        return self._rows.at(position)


class _Rows:
    """The rows of one row group, decoded from the first as far as they were wanted; only the last ones are kept."""

    def __init__(self, place: int, file: Path, group: int, columns: Sequence[str]) -> None:
        self.place, self.first, self.batch = place, 0, None
        self._next = self._batches(file, group, columns)

    def reaches(self, place: int, position: int) -> bool:
        return place == self.place and position >= self.first

    def at(self, position: int) -> tuple[Any, int]:
        while self.batch is None or position >= self.first + len(self.batch):
            self.first += 0 if self.batch is None else len(self.batch)
            self.batch = None  # freed before the next is decoded
            self.batch = next(self._next)
        return self.batch, position - self.first

    @staticmethod
    def _batches(file: Path, group: int, columns: Sequence[str]) -> Iterator[Any]:
        with _opened(file) as opened:
            footer = opened.metadata.row_group(group)
            rows = min(ROWS, max(1, HELD // max(footer.total_byte_size, 1)))
            for batch in opened.iter_batches(rows, row_groups=[group], columns=list(columns), use_threads=False):
                yield batch.select(list(columns))
        raise ValueError(f"damaged: row group {group + 1} of {file} has fewer rows than promised")


def _opened(file: Path) -> Any:
    parquet = extra("pyarrow.parquet", "parquet", "reading Parquet")
    return parquet.ParquetFile(file, buffer_size=BLOCK, pre_buffer=False)

"""Read records from Parquet, with their pictures in it or beside it."""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

from recipes.reading.arrow_rows import columns_to_read, embedded_number, embedded_picture, record_of
from recipes.reading.extras import extra
from recipes.reading.pictures import PictureFolder, Source
from recipes.reading.reader import RawRecord, Reader

ROWS, HELD = 32, 64_000_000
"""Rows that a process decodes at a time and keeps, fewer if they are of more bytes than this."""
BLOCK = 1 << 20
"""Bytes that are read from a file at a time."""


class ParquetReader(Reader):
    """Records of Parquet files; columns are keys, and pictures are embedded or named.

    A row group can only be decoded from its first row: half of it on average for a picture in random order. Small
    groups (of about 100 pictures) make that quick.

    Args:
        path: the file or folder that the user has named.
        files: one or more Parquet files with the same columns, in the order of their records.
        images: folder that the names of pictures are relative to.

    Raises:
        ValueError: naming file and column, for what is not Parquet, and for columns that cannot be used; if there is
            no image folder.
        ImportError: without pyarrow.
        OSError: if a file cannot be read.
    """

    def __init__(self, path: Path, files: list[Path], images: Path) -> None:
        self.path, self._files, self.folder = path, files, PictureFolder(images)
        self._columns, sizes = list[list[str]](), list[list[int]]()
        for file in files:
            with _parquet(file) as opened:
                self._columns.append(columns_to_read(opened.schema_arrow, str(file)))
                footer = opened.metadata
                sizes.append([footer.row_group(group).num_rows for group in range(footer.num_row_groups)])
        self._groups = [(file, group) for file, each in enumerate(sizes) for group in range(len(each))]
        self._starts = [0, *accumulate(rows for each in sizes for rows in each)]
        self._first_rows = [0, *accumulate(sum(each) for each in sizes)]
        self._rows: _Rows | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_rows": None}

    def files(self) -> list[Path]:
        return self._files

    def records(self) -> Iterator[RawRecord]:
        for number in range(1, self._starts[-1] + 1):
            where = self.location(number)
            try:
                value = record_of(*self._row(number), number)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            yield RawRecord(number, where, value)

    def location(self, number: int) -> str:
        file = bisect_right(self._first_rows, number - 1) - 1
        return f"{self._files[file]}, row {number - self._first_rows[file]}"

    def picture(self, name: str, where: str) -> Source:
        if (number := embedded_number(name)) is not None:
            try:
                found = embedded_picture(*self._row(number), name)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            if isinstance(found, bytes):
                return found
            name = found
        return self.folder.find(name, where)

    def _row(self, number: int) -> tuple[Any, int]:
        """The rows that hold a record, and its position in them."""
        if not 0 < number <= self._starts[-1]:
            raise ValueError(f"there is no row {number}")
        place = bisect_right(self._starts, number - 1) - 1
        row = number - 1 - self._starts[place]
        if self._rows is None or not self._rows.reaches(place, row):
            file, group = self._groups[place]
            self._rows = _Rows(place, self._files[file], group, self._columns[file])
        return self._rows.at(row)


class _Rows:
    """The rows of one row group, decoded from the first as far as they were wanted; only the last ones are kept."""

    def __init__(self, place: int, file: Path, group: int, columns: list[str]) -> None:
        self.place, self.first, self.batch = place, 0, None
        self._next = self._batches(file, group, columns)

    def reaches(self, place: int, row: int) -> bool:
        return place == self.place and row >= self.first

    def at(self, row: int) -> tuple[Any, int]:
        while self.batch is None or row >= self.first + len(self.batch):
            self.first += 0 if self.batch is None else len(self.batch)
            self.batch = None  # freed before the next is decoded
            self.batch = next(self._next)
        return self.batch, row - self.first

    @staticmethod
    def _batches(file: Path, group: int, columns: list[str]) -> Iterator[Any]:
        with _parquet(file) as opened:
            footer = opened.metadata.row_group(group)
            rows = min(ROWS, max(1, footer.num_rows * HELD // max(footer.total_byte_size, 1)))
            for batch in opened.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
                yield batch.select(columns)
        raise ValueError(f"{file} is damaged: row group {group + 1} has fewer rows than promised")


@contextmanager
def _parquet(file: Path) -> Iterator[Any]:
    """An open file, whose errors name it."""
    parquet = extra("pyarrow.parquet", "parquet", "reading Parquet")
    from pyarrow import ArrowException

    try:
        with parquet.ParquetFile(file, buffer_size=BLOCK, pre_buffer=False) as opened:
            yield opened
    except (ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # missing, or permission denied
        raise ValueError(f"{file} is damaged, or not Parquet ({str(error).splitlines()[0][:150]})") from error

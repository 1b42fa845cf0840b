"""What readers of tables have in common, whatever file the tables are in."""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

from recipes.reading.arrow_rows import embedded_number, embedded_picture, record_of
from recipes.reading.extras import extra
from recipes.reading.pictures import PictureFolder, Source
from recipes.reading.reader import RawRecord, Reader


class TableReader(Reader):
    """Records of the rows of tables; a record's number is its row in all files together, from 1.

    Args:
        path: the file or folder that the user has named.
        images: folder that the names of pictures are relative to.
        tables: the files with tables, in the order of their records.
        columns: names of the columns that are read of each of them.
        rows: number of rows in each of them.

    Raises:
        ValueError: if there is no image folder.
    """

    def __init__(
        self,
        path: Path,
        images: Path,
        tables: Sequence[Path],
        columns: Sequence[Sequence[str]],
        rows: Sequence[int],
    ) -> None:
        self.path, self.folder, self.tables, self.columns = path, PictureFolder(images), list(tables), list(columns)
        self.starts = [0, *accumulate(rows)]

    @abstractmethod
    def row(self, number: int) -> tuple[Any, int]:
        """Some rows (a `pyarrow.RecordBatch`), and the position of the wanted one among them.

        Args:
            number: of the record; it exists.

        Raises:
            ValueError: if the file is damaged.
            OSError: if it cannot be read.
        """

    def files(self) -> list[Path]:
        return self.tables

    def records(self) -> Iterator[RawRecord]:
        for number in range(1, self.starts[-1] + 1):
            where = self.location(number)
            with named_errors(where):
                value = record_of(*self.row(number), number)
            yield RawRecord(number, where, value)

    def location(self, number: int) -> str:
        table = bisect_right(self.starts, number - 1) - 1
        return f"{self.tables[table]}, row {number - self.starts[table]}"

    def column_names(self, number: int) -> Sequence[str]:
        """Names of the columns that are read of a record's table."""
        return self.columns[bisect_right(self.starts, number - 1) - 1]

    def holds(self, name: str) -> bool:
        return embedded_number(name) is not None or super().holds(name)

    def file(self, name: str) -> Path:
        return self.folder.file(name, name)

    def picture(self, name: str, where: str) -> Source:
        number = embedded_number(name)
        if number is None:
            return self.folder.find(name, where)
        if not 0 < number <= self.starts[-1]:
            raise ValueError(f"{where}: there is no row {number}")
        with named_errors(where):
            return embedded_picture(*self.row(number), name)


@contextmanager
def named_errors(where: str | Path) -> Iterator[None]:
    """Put the location in front of errors about content; pyarrow reports most damage as an `OSError`.

    Raises:
        ValueError: for any of them.
        OSError: if a file is missing or may not be read.
    """
    arrow = extra("pyarrow", "parquet", "reading Parquet and Arrow files")
    try:
        yield
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: a text is not UTF-8 (byte {error.start})") from error
    except (ValueError, arrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        damaged = "damaged: " if isinstance(error, arrow.ArrowException | OSError) else ""
        raise ValueError(f"{where}: {damaged}{str(error)[:500]}") from error

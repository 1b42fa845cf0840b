"""Rows of Parquet files and of saved data sets, as they are on the hub."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.benchmarks.pictures import EmbeddedPicture, picture_digest
from recipes.benchmarks.rows.row import NoFileError, Row, Rows, inside
from recipes.reading.arrow_rows import embedded_number, usable_columns
from recipes.reading.parquet_file import ParquetReader
from recipes.reading.saved_dataset import STATE, SavedDatasetReader
from recipes.reading.table_reader import TableReader


class ParquetRows(Rows):
    """A split of a data set: Parquet files called after it, as in `data/validation-00000-of-00004.parquet`, or a folder
    of that name that `save_to_disk` has written. Columns are fields.

    Args:
        split: the split, as files are called.
        config: folder of the data set's configuration; `*`: all of them, one after the other; null: there is none.

    Raises:
        ImportError: without pyarrow, when rows are read.
    """

    def __init__(self, split: str, *, config: str | None = None) -> None:
        self.split, self.config = split, config

    def rows(self, folder: Path) -> Iterator[Row]:
        reader = self._reader(folder)
        for raw in reader.records():
            # A reader leaves nulls out; here a column is a field of every row.
            fields = dict.fromkeys(reader.column_names(raw.number)) | raw.value
            pictures = {name: _pictures(value, reader, raw.where) for name, value in fields.items()}
            yield Row(raw.where, raw.number, pictures)

    def _reader(self, folder: Path) -> TableReader:
        places = [self.config] if self.config is not None else [".", "data"]
        for place in places:
            base = inside(folder, f"{place}/{self.split}")
            if files := sorted(folder.glob(f"{base.relative_to(folder)}-*.parquet")):
                return ParquetReader(folder, files, folder, usable_columns)
            if (alone := inside(folder, f"{place}/{self.split}.parquet")).is_file():
                return ParquetReader(alone, [alone], folder, usable_columns)
            if (saved := base / STATE).is_file():
                return SavedDatasetReader(saved.parent, folder, usable_columns)
        names = [str(Path(place) / f"{self.split}-*.parquet") for place in places]
        raise NoFileError(folder, names)


def _pictures(value: Any, reader: TableReader, where: str) -> Any:
    """The value with the names of embedded pictures replaced by the pictures."""
    if isinstance(value, list):
        return [_pictures(each, reader, where) for each in value]
    if isinstance(value, str) and embedded_number(value) is not None:
        # Now, while the row is decoded.
        content = reader.picture(value, where)
        assert isinstance(content, bytes)
        return EmbeddedPicture(picture_digest(content), reader, value, where)
    return value

"""Choose the reader of a file or a folder."""

import re
from pathlib import Path

from recipes.reading.json_file import JsonReader
from recipes.reading.parquet_file import ParquetReader
from recipes.reading.reader import Reader
from recipes.reading.saved_dataset import SPLITS, STATE, SavedDatasetReader

PART = re.compile(r"(.*?)-?([0-9]+)-of-([0-9]+)")
"""How the parts of a data set are called, such as train-00003-of-00010."""


def open_reader(path: str | Path, images: str | Path | None = None) -> Reader:
    """The reader of a file or a folder of records.

    Args:
        path: a JSON list, a JSONL file, a Parquet file or a folder of them, or a saved data set.
        images: folder that the names of pictures are relative to; default: the file's own, or the folder.

    Raises:
        ValueError: if nothing can read it, or there is no image folder.
        ImportError: if it needs a library that is not installed.
        OSError: if it cannot be read.
    """
    source = Path(path)
    if source.is_dir():
        return _of_folder(source, Path(images) if images is not None else source)
    folder = Path(images) if images is not None else source.parent
    if source.suffix == ".parquet":
        return ParquetReader(source, [source], folder)
    return JsonReader(source, folder)


def _of_folder(source: Path, images: Path) -> Reader:
    if (source / STATE).is_file() or (source / SPLITS).is_file():
        return SavedDatasetReader(source, images)
    parquet = sorted(source.glob("*.parquet"))
    if not parquet:
        raise ValueError(f"{source} is a folder without Parquet files: give a file in it")
    _check_parts(source, parquet)
    return ParquetReader(source, parquet, images)


def _check_parts(source: Path, files: list[Path]) -> None:
    """Refuse a folder in which parts are missing, or that holds several data sets, such as training and test data."""
    parts = [found for file in files if (found := PART.fullmatch(file.stem))]
    if len(names := sorted({part[1] for part in parts})) > 1:
        raise ValueError(f"{source} holds several data sets: {', '.join(names)}; put each into a folder of its own")
    if parts and sorted(int(part[2]) for part in parts) != list(range(int(parts[0][3]))):
        raise ValueError(f"{source} holds {len(parts)} of {int(parts[0][3])} parts of {parts[0][1]}: fetch the others")

"""Choose the reader of a file or a folder."""

import re
from collections import Counter
from functools import partial
from pathlib import Path

from recipes.reading.arrow_rows import Columns, columns_to_read
from recipes.reading.json_file import JsonReader, check_plain
from recipes.reading.parquet_file import ParquetReader
from recipes.reading.pictures import ADDRESS
from recipes.reading.reader import Reader
from recipes.reading.saved_dataset import SPLITS, STATE, SavedDatasetReader
from recipes.reading.shards import INDEX, ShardReader
from recipes.reading.tar_file import TarReader

SUFFIXES = (".parquet", ".tar")
READ = "JSON, JSONL, Parquet and WebDataset tars are read, and folders of Parquet, tars, shards or a saved data set"
TABLES = (".csv", ".tsv", ".xlsx")
BEGINNINGS = {
    b"\x1f\x8b": "compressed with gzip: unpack it, nothing in it can be read without everything before",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it, nothing in it can be read without everything before",
    b"PK\x03\x04": "a zip archive: unpack it",
    b"ARROW1": "an Arrow file: write it as Parquet, or give the folder that save_to_disk() has written",
}
"""How files begin that are not read, and what they are."""
PART = re.compile(r"(.*?)-?([0-9]+)-of-([0-9]+)")
"""How the parts of a data set are called, such as train-00003-of-00010."""


def open_reader(path: str | Path, images: str | Path | None = None, *, questions: bool = False) -> Reader:
    """The reader of a file or a folder of records.

    Args:
        path: a JSON list, a JSONL file, a Parquet file, a tar, a folder of either, shards, or a saved data set.
        images: folder that the names of pictures are relative to; default: the file's own, or the folder.
        questions: whether the records are questions to be answered; a table's column `question` is then read.

    Raises:
        ValueError: if nothing can read it, or there is no image folder.
        ImportError: if it needs a library that is not installed.
        OSError: if it cannot be read.
    """
    if ADDRESS.match(str(path)):
        raise ValueError(f"{path} is not fetched: copy the folder or mount it, and name it there")
    source = Path(path)
    choose = partial(columns_to_read, questions=questions)
    if source.is_dir():
        return _of_folder(source, None if images is None else Path(images), choose)
    folder = Path(images) if images is not None else source.parent
    check_plain(source)
    with source.open("rb") as stream:
        begin = stream.read(8)
    suffix = source.suffix.lower()
    if suffix in SUFFIXES:
        return _of_files(suffix, source, [source], folder, choose)
    if suffix in TABLES:
        raise ValueError(f"{source} is a table: write its rows as JSON objects, one a line. {READ}")
    if what := next((what for mark, what in BEGINNINGS.items() if begin.startswith(mark)), None):
        raise ValueError(f"{source} is {what}. {READ}")
    return JsonReader(source, folder)


def _of_files(suffix: str, source: Path, files: list[Path], images: Path, choose: Columns) -> Reader:
    if suffix == ".tar":
        return TarReader(source, files, images)
    return ParquetReader(source, files, images, choose)


def _of_folder(source: Path, images: Path | None, choose: Columns) -> Reader:
    if (source / STATE).is_file() or (source / SPLITS).is_file():
        return SavedDatasetReader(source, images or source, choose)
    if (source / INDEX).is_file():
        if images is not None:
            raise ValueError(f"{source} holds shards, with their pictures: leave the folder {images} out")
        return ShardReader(source)
    files = sorted(
        file for file in source.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) != 1:
        raise ValueError(f"{source} is a folder of {_content(source)}: give one file or folder in it. {READ}")
    _check_parts(source, files)
    return _of_files(kinds[0], source, files, images or source, choose)


def _content(folder: Path) -> str:
    """The commonest kinds of what is in a folder, in words."""
    kinds = Counter("folders" if each.is_dir() else each.suffix.lower() or "others" for each in folder.iterdir())
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(4)) or "nothing"


def _check_parts(source: Path, files: list[Path]) -> None:
    """Refuse a folder in which parts are missing, or that holds several data sets, such as training and test data."""
    parts = [found for file in files if (found := PART.fullmatch(file.stem))]
    if len(names := sorted({f"{part[1]}-of-{part[3]}" for part in parts})) > 1:
        raise ValueError(f"{source} holds several data sets: {', '.join(names)}; put each into a folder of its own")
    if not parts:
        return
    there = {int(part[2]) for part in parts}
    if lacking := int(parts[0][3]) - len(there):
        first = next(number for number in range(len(there) + 1) if number not in there)
        raise ValueError(f"{source} lacks parts of {names[0]}: number {first}, {lacking} in all; fetch them")

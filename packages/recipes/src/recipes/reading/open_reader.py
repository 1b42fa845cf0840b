"""Choose the reader of a file or a folder."""

import re
from collections.abc import Callable
from pathlib import Path

from recipes.reading.json_file import JsonReader
from recipes.reading.parquet_file import ParquetReader
from recipes.reading.reader import Reader
from recipes.reading.saved_dataset import SPLITS, STATE, SavedDatasetReader
from recipes.reading.tar_file import TarReader

PARTS: dict[str, Callable[[Path, list[Path], Path], Reader]] = {".parquet": ParquetReader, ".tar": TarReader}
PART = re.compile(r"(.*?)-?([0-9]+)-of-([0-9]+)")
"""How the parts of a data set are called, such as train-00003-of-00010."""


def open_reader(path: str | Path, images: str | Path | None = None) -> Reader:
    """The reader of a file or a folder of records.

    Args:
        path: a JSON list, a JSONL file, a Parquet file, a tar, a folder of either, or a saved data set.
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
    if source.suffix in PARTS:
        return PARTS[source.suffix](source, [source], folder)
    return JsonReader(source, folder)


def _of_folder(source: Path, images: Path) -> Reader:
    if (source / STATE).is_file() or (source / SPLITS).is_file():
        return SavedDatasetReader(source, images)
    found = {suffix: sorted(source.glob(f"*{suffix}")) for suffix in PARTS}
    kinds = [suffix for suffix in PARTS if found[suffix]]
    if len(kinds) != 1:
        what = f"both {' and '.join(kinds)}" if kinds else "neither Parquet files nor tars"
        raise ValueError(f"{source} is a folder with {what}: give a file in it")
    _check_parts(source, found[kinds[0]])
    return PARTS[kinds[0]](source, found[kinds[0]], images)


def _check_parts(source: Path, files: list[Path]) -> None:
    """Refuse a folder in which parts are missing, or that holds several data sets, such as training and test data."""
    parts = [found for file in files if (found := PART.fullmatch(file.stem))]
    if len(names := sorted({part[1] for part in parts})) > 1:
        raise ValueError(f"{source} holds several data sets: {', '.join(names)}; put each into a folder of its own")
    if parts and sorted(int(part[2]) for part in parts) != list(range(int(parts[0][3]))):
        raise ValueError(f"{source} holds {len(parts)} of {int(parts[0][3])} parts of {parts[0][1]}: fetch the others")

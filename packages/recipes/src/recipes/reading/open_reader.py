"""Choose the reader of a file or a folder."""

from pathlib import Path

from recipes.reading.json_file import JsonReader
from recipes.reading.reader import Reader


def open_reader(path: str | Path, images: str | Path | None = None) -> Reader:
    """The reader of a file or a folder of records.

    Args:
        path: a JSON list or a JSONL file.
        images: folder that the names of pictures are relative to; default: the file's own.

    Raises:
        ValueError: if nothing can read it, or there is no image folder.
        OSError: if it cannot be read.
    """
    source = Path(path)
    return JsonReader(source, Path(images) if images is not None else source.parent)

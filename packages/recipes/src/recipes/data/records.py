"""Conversations from a file, checked before anything is trained on them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foveal.models import Turn
from recipes.data.shapes import read_shape
from recipes.reading.json_file import read_values
from recipes.reading.pictures import Source, picture_source


@dataclass(frozen=True)
class Record:
    """One conversation: its id, its pictures, its turns."""

    key: str
    images: tuple[Source, ...]
    turns: tuple[Turn, ...]

    @property
    def words(self) -> int:
        """Words of all turns, pictures not counted."""
        return sum(len(turn.text.replace("<image>", " ").split()) for turn in self.turns)


def read_records(path: str | Path, images: str | Path | None = None) -> list[Record]:
    """The conversations of a JSON list or a JSONL file, in any of the shapes of `read_shape`.

    Args:
        path: the file; its content tells which of the two it is.
        images: folder that the pictures' names start from; default: the file's own.

    Raises:
        ValueError: naming file, record and key: for JSON that is none, all that `read_shape` refuses, pictures that are
            missing or lie outside of `images`.
        OSError: if the file cannot be read.
    """
    source = Path(path)
    root = Path(images) if images is not None else source.parent
    if not root.is_dir():
        raise ValueError(f"there is no image folder {root}")
    records = [_record(raw, where, root) for _, where, raw in read_values(source)]
    if not records:
        raise ValueError(f"{source} has no records")
    return records


def _record(raw: Any, where: str, root: Path) -> Record:
    key = where
    if isinstance(raw, dict) and raw.get("id") is not None:
        key = str(raw["id"]).encode(errors="backslashreplace").decode()
        where = f"{where} (id {key})"
    names, turns = read_shape(raw, where)
    return Record(key, tuple(picture_source(name, root, f"{where}, image") for name in names), tuple(turns))

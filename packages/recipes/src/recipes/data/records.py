"""Conversations from a file, checked before anything is trained on them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from foveal.models import BadImageError, Turn, image_size
from recipes.data.bad_samples import BadSamples
from recipes.data.shapes import read_shape
from recipes.reading.json_file import read_values
from recipes.reading.pictures import Source, picture_source


@dataclass(frozen=True)
class Record:
    """One conversation.

    Attributes:
        key: its id, or its place in the file.
        images: its pictures.
        turns: of it; none if they could not be read.
        fault: why it cannot be used; empty: nothing is known against it.
    """

    key: str
    images: tuple[Source, ...]
    turns: tuple[Turn, ...]
    fault: str = ""

    @property
    def words(self) -> int:
        """Words of all turns, pictures not counted."""
        return sum(len(turn.text.replace("<image>", " ").split()) for turn in self.turns)


def read_records(
    path: str | Path, images: str | Path | None = None, *, policy: BadSamples = BadSamples()
) -> list[Record]:
    """The conversations of a JSON list or a JSONL file, in any of the shapes of `read_shape`.

    Headers of all pictures are read. A record with a fault keeps its place, so that the order of the others does not
    depend on what is mended meanwhile.

    Args:
        path: the file; its content tells which of the two it is.
        images: folder that the pictures' names start from; default: the file's own.
        policy: for records that cannot be used.

    Raises:
        ValueError: for JSON that is none; naming file, record and key, unless the policy leaves them out: for all that
            `read_shape` refuses, and pictures that are missing, lie outside of `images`, or whose header tells that
            they are damaged or too large.
        OSError: if the file cannot be read.
    """
    source = Path(path)
    root = Path(images) if images is not None else source.parent
    if not root.is_dir():
        raise ValueError(f"there is no image folder {root}")
    checked = cache(_header_fault)
    records = [_record(raw, where, root, checked) for _, where, raw in read_values(source)]
    if not records:
        raise ValueError(f"{source} has no records")
    policy.read([record.fault for record in records if record.fault], len(records), str(source))
    return records


def _record(raw: Any, where: str, root: Path, header_fault: Callable[[Source], str]) -> Record:
    key = where
    if isinstance(raw, dict) and raw.get("id") is not None:
        key = str(raw["id"]).encode(errors="backslashreplace").decode()
        where = f"{where} (id {key})"
    try:
        names, turns = read_shape(raw, where)
    except ValueError as error:
        return Record(key, (), (), str(error))
    try:
        sources = tuple(picture_source(name, root, f"{where}, image") for name in names)
        fault = next((f"{where}, image: {reason}" for reason in map(header_fault, sources) if reason), "")
    except ValueError as error:
        # Never opened; that there are pictures has a say in the order.
        sources, fault = tuple(root / "unknown" for _ in names), str(error)
    return Record(key, sources, tuple(turns), fault)


def _header_fault(source: Source) -> str:
    """What the header of a picture tells against it."""
    try:
        image_size(source)
    except BadImageError as error:
        return str(error)
    return ""

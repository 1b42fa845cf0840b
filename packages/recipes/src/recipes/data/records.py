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
        key: its id, or its position in the file.
        images: its pictures.
        turns: its turns; empty if they could not be read.
        fault: why it cannot be used; empty: no fault is known.
    """

    key: str
    images: tuple[Source, ...]
    turns: tuple[Turn, ...]
    fault: str = ""

    @property
    def words(self) -> int:
        """Number of words in all turns, without pictures."""
        return sum(len(turn.text.replace("<image>", " ").split()) for turn in self.turns)


def read_records(
    path: str | Path, images: str | Path | None = None, *, policy: BadSamples = BadSamples()
) -> list[Record]:
    """Read the conversations of a JSON list or a JSONL file, in any of the shapes of `read_shape`.

    The headers of all pictures are read. A record with a fault keeps its position, so that the order of the others does
    not change when it is repaired later.

    Args:
        path: the file; its content shows whether it is JSON or JSONL.
        images: folder that the names of pictures are relative to; default: the file's own.
        policy: for records that cannot be used.

    Raises:
        ValueError: if the file is not JSON or has no records, or there is no image folder. Unless the policy leaves
            them out, also for records that `read_shape` refuses, and for pictures that are missing, outside `images`,
            or damaged or too large according to their header; naming file, record and key.
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
        # Never opened, but the order depends on whether a record has pictures.
        sources, fault = tuple(root / "unknown" for _ in names), str(error)
    return Record(key, sources, tuple(turns), fault)


def _header_fault(source: Source) -> str:
    """What is wrong with a picture according to its header; empty if nothing is."""
    try:
        image_size(source)
    except BadImageError as error:
        return str(error)
    return ""

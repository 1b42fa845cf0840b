"""Conversations from a file, checked before anything is trained on them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from foveal.models import BadImageError, Turn
from recipes.data.bad_samples import BadSamples
from recipes.data.shapes import read_shape
from recipes.reading.open_reader import open_reader
from recipes.reading.pictures import Source, picture_size
from recipes.reading.reader import RawRecord, Reader


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
    reader = open_reader(path, images)
    checked = cache(_header_fault)
    records = [_record(raw, reader, checked) for raw in reader.records()]
    if not records:
        raise ValueError(f"{path} has no records")
    policy.read([record.fault for record in records if record.fault], len(records), str(path))
    return records


def _record(raw: RawRecord, reader: Reader, header_fault: Callable[[Source], str]) -> Record:
    value, where = raw.value, raw.where
    key = where
    if isinstance(value, dict) and value.get("id") is not None:
        key = str(value["id"]).encode(errors="backslashreplace").decode()
        where = f"{where} (id {key})"
    try:
        names, turns = read_shape(value, where)
    except ValueError as error:
        return Record(key, (), (), str(error))
    try:
        sources = tuple(reader.picture(name, f"{where}, image") for name in names)
        fault = next((f"{where}, image: {reason}" for reason in map(header_fault, sources) if reason), "")
    except ValueError as error:
        # Never opened, but the order depends on whether a record has pictures.
        sources, fault = tuple(b"" for _ in names), str(error)
    return Record(key, sources, tuple(turns), fault)


def _header_fault(source: Source) -> str:
    """What is wrong with a picture according to its header; empty if nothing is."""
    try:
        picture_size(source)
    except BadImageError as error:
        return str(error)
    return ""

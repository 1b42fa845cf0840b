"""Read records from the shards that `python -m recipes.shard` writes, in litdata's chunk format.

A chunk begins with n, the number of its items, and n + 1 positions: where each item begins, and the end. An item has
two parts, after the size of each: JSON of a record and of the sizes of its pictures; and the pictures.
All numbers are little-endian uint32 (litdata 0.2.76, streaming/writer.py and item_loader.py).

litdata itself is not needed for reading. Its own reader would take the kinds of parts from the index, and one kind is
pickled; here, nothing but bytes is read.
"""

import json
import os
import re
import struct
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, BinaryIO

from recipes.reading.named_files import named_files
from recipes.reading.pictures import PictureFolder, Source
from recipes.reading.reader import RawRecord, Reader
from recipes.reading.rename import rename_pictures

INDEX = "index.json"
PARTS = ["bytes", "bytes"]
"""What litdata calls the kinds of the two parts of an item."""
SPAN = re.compile(r"shard:([0-9]{1,9}):([0-9]{1,18}):([0-9]{1,18})")
"""The name of a picture: its chunk, the position of its first byte, and its size."""


class ShardReader(Reader):
    """Records of a folder of shards.

    Args:
        path: the folder, with `index.json` and the chunks that it names.

    Raises:
        ValueError: naming file and key, if other tools have written it, or a chunk is missing or cut.
        OSError: if a file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, PictureFolder(path)
        self._chunks, sizes, rows = _chunks(path)
        for chunk, size in zip(self._chunks, sizes, strict=True):
            if chunk.stat().st_size != size:
                raise ValueError(
                    f"{chunk} has {chunk.stat().st_size} bytes, not {size} as {INDEX} says: fetch it again"
                )
        self._sizes, self._starts = sizes, [0, *accumulate(rows)]

    def files(self) -> list[Path]:
        return [self.path / INDEX, *self._chunks]

    def records(self) -> Iterator[RawRecord]:
        for place, chunk in enumerate(self._chunks):
            first, end = self._starts[place : place + 2]
            with chunk.open("rb") as stream:
                positions = _positions(stream, chunk, end - first, self._sizes[place])
                for number, (start, stop) in enumerate(pairwise(positions), start=first + 1):
                    where = self.location(number)
                    yield RawRecord(number, where, _record(stream, place, start, stop, where))

    def location(self, number: int) -> str:
        place = bisect_right(self._starts, number - 1) - 1
        return f"{self._chunks[place]}, record {number - self._starts[place]}"

    def holds(self, name: str) -> bool:
        return SPAN.fullmatch(name) is not None

    def file(self, name: str) -> Path:
        return self.folder.file(name, name)

    def picture(self, name: str, where: str) -> Source:
        span = SPAN.fullmatch(name)
        if span is None:
            raise ValueError(f"{where}: {name[:100]!r} is not a picture in the shards")
        place, start, size = map(int, span.groups())
        if place >= len(self._chunks) or start + size > self._sizes[place]:
            raise ValueError(f"{where}: {name!r} is not inside of a shard")
        with self._chunks[place].open("rb") as stream:
            content = os.pread(stream.fileno(), size, start)
        if len(content) < size:
            raise ValueError(f"{where}: {self._chunks[place]} has become shorter")
        return content


def _chunks(folder: Path) -> tuple[list[Path], list[int], list[int]]:
    """The chunks, and for each its bytes and its number of records."""
    file = folder / INDEX
    try:
        index = json.loads(file.read_bytes())
        settings, chunks = index["config"], index["chunks"]
        found = [(chunk["filename"], chunk["chunk_bytes"], chunk["chunk_size"]) for chunk in chunks]
        kinds, coded = settings["data_format"], [settings.get(key) for key in ("compression", "encryption")]
    except (ValueError, RecursionError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"{file} is no index of shards ({type(error).__name__}: {error})") from error
    if kinds != PARTS or any(coded) or settings.get("ipc_compression"):
        raise ValueError(
            f"{file}: items of {str(kinds)[:100]}, compression and encryption {str(coded)[:100]}: only what "
            f"`python -m recipes.shard` writes is read, items of {PARTS} without either"
        )
    for _, *numbers in found:
        if not all(type(each) is int and each >= 0 for each in numbers):
            raise ValueError(f"{file}: numbers of bytes and records are expected, not {str(numbers)[:100]}")
    files = named_files(file, "filename", [name for name, *_ in found])
    return files, [size for _, size, _ in found], [rows for *_, rows in found]


def _positions(stream: BinaryIO, chunk: Path, rows: int, size: int) -> list[int]:
    """Where the records of a chunk begin, and the end."""
    header = 4 * (rows + 2)
    content = stream.read(header) if header <= size else b""
    count, *positions = struct.unpack(f"<{len(content) // 4}I", content) if len(content) == header else (None,)
    if count != rows or positions[0] != header or positions[-1] != size or positions != sorted(positions):
        raise ValueError(f"{chunk} is damaged: its header does not fit {INDEX}")
    return positions


def _record(stream: BinaryIO, place: int, start: int, stop: int, where: str) -> Any:
    """The record from byte `start` to `stop`, in which the places of pictures are their names."""
    stream.seek(start)
    head = stream.read(8)
    text, pictures = struct.unpack("<2I", head) if stop - start >= 8 else (0, 0)
    if 8 + text + pictures != stop - start:
        raise ValueError(f"{where}: damaged: its parts are not as long as it is")
    try:
        stored = json.loads(stream.read(text))
        record, sizes = stored["record"], stored["pictures"]
        ends = list(accumulate(sizes, initial=start + 8 + text))
        if ends[-1] != stop or not all(type(size) is int and size >= 0 for size in sizes):
            raise ValueError("the sizes of its pictures do not fit")
        names = {
            str(number): f"shard:{place}:{end - size}:{size}"
            for number, (size, end) in enumerate(zip(sizes, ends[1:], strict=True))
        }
        return rename_pictures(record, lambda name: names[name])
    except (ValueError, RecursionError, TypeError, LookupError) as error:
        raise ValueError(f"{where}: damaged ({type(error).__name__}: {str(error)[:200]})") from error

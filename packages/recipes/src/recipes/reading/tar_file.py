"""Read records from tars in WebDataset's layout: members whose names differ only in their suffix are one record."""

import json
import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, BinaryIO

from recipes.reading.pictures import MAX_BYTES, PictureFolder, Source
from recipes.reading.reader import RawRecord, Reader
from recipes.reading.rename import picture_names, rename_pictures
from recipes.reading.tar_members import BLOCK, Member, read_members

PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "gif")
NOT_READ = ("tif", "tiff", "avif", "heic", "jp2", "svg", "pdf", "mp4", "webm", "mov", "avi", "mp3", "wav", "flac")
SPAN = re.compile(r"tar:([0-9]{1,9}):([0-9]{1,18}):([0-9]{1,18})")
"""The name of a picture: its tar, the position of its first byte, and its size."""
TALKS = ("conversations", "messages", "caption", "text")


class TarReader(Reader):
    """Records of WebDataset tars.

    The members of a record follow each other and have the same key: their name up to the first dot of its last part.
    `.json` is a record, with or without the names of its pictures; `.txt` is a caption. Members are read in place:
    nothing is extracted. A record's number is the position of its first member, in blocks of 512 bytes.

    Args:
        path: the file or folder that the user has named.
        files: one or more tars, not compressed, in the order of their records.
        images: folder of pictures that records name, but their tar does not hold.

    Raises:
        ValueError: if there is no image folder.
        OSError: if a file cannot be read.
    """

    def __init__(self, path: Path, files: Sequence[Path], images: Path) -> None:
        self.path, self.folder, self._files = path, PictureFolder(images), list(files)
        self._sizes = [file.stat().st_size for file in files]
        self._starts = [0, *accumulate(-(-size // BLOCK) for size in self._sizes)]

    def files(self) -> list[Path]:
        return self._files

    def records(self) -> Iterator[RawRecord]:
        for number, file in enumerate(self._files):
            seen = set[str]()
            with file.open("rb") as stream:
                for key, group in groupby(read_members(stream, file), key=lambda member: member.key):
                    members, where = list(group), f"{file}, record {key}"
                    if key in seen:
                        raise ValueError(f"{where}: its members must follow each other; write it with tar --sort=name")
                    seen.add(key)
                    value = _record(key, members, stream, number, where)
                    yield RawRecord(self._starts[number] + members[0].start // BLOCK + 1, where, value)

    def location(self, number: int) -> str:
        place = bisect_right(self._starts, number - 1) - 1
        file = self._files[place]
        with file.open("rb") as stream:
            stream.seek((number - 1 - self._starts[place]) * BLOCK)
            return f"{file}, record {next(read_members(stream, file)).key}"

    def holds(self, name: str) -> bool:
        return SPAN.fullmatch(name) is not None or super().holds(name)

    def file(self, name: str) -> Path:
        return self.folder.file(name, name)

    def picture(self, name: str, where: str) -> Source:
        span = SPAN.fullmatch(name)
        if span is None:
            return self.folder.find(name, where)
        number, start, size = map(int, span.groups())
        if number >= len(self._files) or start + size > self._sizes[number]:
            raise ValueError(f"{where}: {name!r} is not inside of a tar")
        with self._files[number].open("rb") as stream:
            content = os.pread(stream.fileno(), size, start)
        if len(content) < size:
            raise ValueError(f"{where}: {self._files[number]} has become shorter")
        return content


def _record(key: str, members: Sequence[Member], stream: BinaryIO, tar: int, where: str) -> Any:
    texts: dict[str, str] = {}
    pictures: dict[str, str] = {}
    for member in members:
        if member.suffix in texts or member.suffix in pictures:
            raise ValueError(f"{where}: there are two members .{member.suffix}")
        last = member.suffix.rpartition(".")[2]
        if member.suffix in ("json", "txt"):
            texts[member.suffix] = _text(member, stream, where)
        elif last in PICTURES:
            pictures[member.suffix] = f"tar:{tar}:{member.data}:{member.size}"
        elif last in NOT_READ:
            raise ValueError(f"{where}: .{member.suffix} is not read, only pictures are ({', '.join(PICTURES)})")
    value: Any = {}
    if "json" in texts:
        try:
            value = json.loads(texts["json"])
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}.json: not JSON ({error})") from error
    if not isinstance(value, dict):
        return value
    value = _with_pictures({"id": key} | value, key, pictures, where)
    if "txt" in texts:
        caption = texts["txt"].strip()
        told = [name for name in TALKS if value.get(name) is not None]
        if told and value[told[0]] != caption:
            raise ValueError(f"{where}: both .txt and {told[0]!r} in .json: which one is meant? Leave the other out")
        value |= {} if told else {"caption": caption}
    return value


def _text(member: Member, stream: BinaryIO, where: str) -> str:
    if member.size > MAX_BYTES:
        raise ValueError(f"{where}: .{member.suffix} has more than {MAX_BYTES // 10**6} MB")
    try:
        return os.pread(stream.fileno(), member.size, member.data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: .{member.suffix} is not UTF-8 (byte {error.start}): save it as UTF-8") from error


def _with_pictures(record: dict[str, Any], key: str, pictures: dict[str, str], where: str) -> dict[str, Any]:
    """The record with the places of its pictures in the tar in place of their names; added if it names none."""
    names = picture_names(record)
    if clash := next((name for name in names if SPAN.fullmatch(name)), None):
        raise ValueError(f"{where}: a file cannot be called {clash!r}")
    if not names:
        own = list(pictures.values())
        return record | ({} if not own else {"image": own[0]} if len(own) == 1 else {"images": own})
    base = key.rpartition("/")[2]
    found = {name: place for name in names for suffix, place in pictures.items() if _last(name) == f"{base}.{suffix}"}
    left = [place for place in pictures.values() if place not in found.values()]
    unknown = [name for name in dict.fromkeys(names) if name not in found]
    if len(left) == len(unknown) == 1:
        found[unknown[0]] = left[0]  # the picture was renamed when it was put into the tar
    elif left:
        raise ValueError(f"{where}: it names {names}, but its pictures are {[f'{base}.{each}' for each in pictures]}")
    return rename_pictures(record, lambda name: found.get(name, name))  # type: ignore[no-any-return]


def _last(name: str) -> str:
    stem, _, suffix = name.rpartition("/")[2].partition(".")
    return f"{stem}.{suffix.lower()}"

"""The members of a tar, one after the other; nothing is extracted."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

BLOCK = tarfile.BLOCKSIZE


class Member(NamedTuple):
    """A file in a tar: its key, its suffix (all after the first dot, in lower case), and its place."""

    key: str
    suffix: str
    start: int
    data: int
    size: int


def read_members(stream: BinaryIO, file: Path) -> Iterator[Member]:
    """The members from the stream's position on, without folders, hidden files, and names without a suffix.

    Raises:
        ValueError: for links, devices and sparse files, and a tar that is damaged or cut.
    """
    for member in _headers(stream, file):
        if not member.isdir() and (not member.isreg() or member.issparse()):
            raise ValueError(f"{file}: {member.name!r} is a link, a device or sparse; plain files are expected")
        name = member.name.encode(errors="backslashreplace").decode()
        folder, _, base = name.rpartition("/")
        stem, _, suffix = base.partition(".")
        if member.isreg() and stem and suffix:
            key = f"{folder}/{stem}" if folder else stem
            yield Member(key, suffix.lower(), member.offset, member.offset_data, member.size)


def _headers(stream: BinaryIO, file: Path) -> Iterator[tarfile.TarInfo]:
    end = -1
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # they would fill the memory
                if tar.offset <= end or member.size < 0:
                    raise tarfile.ReadError("a member of negative size")
                end = tar.offset
                yield member
            _check_end(stream, tar.offset)
    except (tarfile.TarError, ValueError, OverflowError, MemoryError, EOFError) as error:
        raise ValueError(f"{file}: damaged, or no tar ({error})") from error


def _check_end(stream: BinaryIO, position: int) -> None:
    """`tarfile` takes a damaged header for the end; the end is a block of zeros, with nothing but zeros after it."""
    stream.seek(position)
    block = stream.read(BLOCK)
    if len(block) < BLOCK:
        raise tarfile.ReadError("it has no end: it was cut, or is still being written")
    while block:
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {position}")
        position += len(block)
        block = stream.read(1 << 20)

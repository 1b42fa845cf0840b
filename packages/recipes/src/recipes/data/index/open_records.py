"""Open the index of a file, or make it if there is none or the file has changed."""

import errno
import hashlib
import json
import logging
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foveal.core.folders import whole_folder
from recipes.data.bad_samples import BadSamples
from recipes.data.index.build import build_index
from recipes.data.index.stored import ABOUT, IndexedRecords
from recipes.reading.open_reader import open_reader
from recipes.reading.reader import Reader

logger = logging.getLogger(__name__)
VERSION = 1
"""Raised when a file would be read in another way, or the index is stored in another one."""
SMALL = 1_000_000
"""Bytes up to which a file is recognised by its content: two writes in quick succession have the same time."""
LOOKED_AT = 20_000
"""Number of pictures up to which all are looked at again when the index is opened."""


def open_records(
    path: str | Path, images: str | Path | None = None, *, policy: BadSamples | None = BadSamples()
) -> IndexedRecords:
    """Open the conversations of a file in any of the shapes of `read_shape`, from its index.

    The index is in the folder `$FOVEAL_CACHE`, by default `~/.cache/foveal` (`$XDG_CACHE_HOME/foveal`). It is made when
    the file is opened for the first time, and again when the file or one of its pictures has changed; of more than
    20,000 pictures, changes are noticed only when they are read. Another process that opens the same file waits.

    Args:
        path: as for `open_reader`.
        images: folder that the names of pictures are relative to; default: the file's own.
        policy: for records that cannot be used; None: they are neither raised nor logged.

    Raises:
        ValueError: as for `open_reader`, if the file has no records, or the index cannot be written. Unless the policy
            leaves them out, also for records that `read_shape` refuses, and for pictures that are missing, outside
            `images`, or damaged or too large according to their header; naming file, record and key.
        OSError: if the file cannot be read.
    """
    reader = open_reader(path, images)
    folder = _folder(Path(path), images)
    with alone(folder):
        about = {"version": VERSION, "reader": type(reader).__name__, "files": _identified(reader.files())}
        if (records := _still_right(folder, reader, about)) is None:
            with _explaining_a_full_disk(folder.parent), whole_folder(folder) as new:
                build_index(reader, new, {**about, "path": str(path)})
                records = IndexedRecords(new, reader)
                (new / ABOUT).write_text(json.dumps({**records.about, "pictures": _pictures(records)}, indent=1))
            records = IndexedRecords(folder, reader)
    if policy is not None:
        policy.read([records.faults[number] for number in sorted(records.faults)], len(records), records.source)
    return records


def _folder(path: Path, images: str | Path | None) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = Path(os.environ.get("FOVEAL_CACHE") or home / "foveal")
    full = [str(path.resolve()), "" if images is None else str(Path(images).resolve())]
    name = hashlib.sha256("\0".join(full).encode("utf-8", errors="surrogateescape")).hexdigest()[:16]
    return cache / "indices" / f"{path.name[:50]}-{name}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process writes this index.

    Raises:
        ValueError: if it cannot be written.
        RuntimeError: if the process was started to help with it, and runs the same script from its beginning.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # It would wait for the process that started it, which waits for this one.
        raise RuntimeError("put what your script does under `if __name__ == '__main__':`; its processes import it")
    # Not at the top: fcntl is missing on some systems where the rest of this package works.
    import fcntl

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f"{folder.name}.lock").open("w")
    except OSError as error:
        raise ValueError(
            f"the index of the data cannot be written to {folder.parent} ({error.strerror}): set FOVEAL_CACHE to a "
            "folder that can be written"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another process that indexes the same data")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _explaining_a_full_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ValueError(
            f"the disk of {folder} is full: the index of the data needs about as much room as the texts; set "
            "FOVEAL_CACHE to another folder"
        ) from error


def _still_right(folder: Path, reader: Reader, about: dict[str, Any]) -> IndexedRecords | None:
    """The records of the index, if it was made from the same files and pictures."""
    try:
        records = IndexedRecords(folder, reader)
        records.check()
    except (OSError, EOFError, ValueError, LookupError):
        return None  # there is none, or somebody has removed or damaged a part of it
    if any(records.about.get(key) != value for key, value in about.items()):
        return None
    if records.faults and records.about["path"] != records.source:
        return None  # the faults name the file in another way
    return records if records.about["pictures"] == _pictures(records) else None


def _identified(files: list[Path]) -> list[list[Any]]:
    return [[str(file.resolve()), *_identity(file)] for file in files]


def _identity(file: Path) -> list[Any]:
    found = file.stat()
    content = hashlib.sha256(file.read_bytes()).hexdigest() if found.st_size <= SMALL else ""
    return [found.st_size, found.st_mtime_ns, content]


def _pictures(records: IndexedRecords) -> str:
    """A hash of the sizes in bytes and times of all pictures; if there are many, only of those of faulty records."""
    numbers = records.with_pictures() if records.pictures <= LOOKED_AT else sorted(records.faults)
    digest, seen = hashlib.sha256(), set()
    for number in numbers:
        for name in records.names(number):
            if name not in seen and not records.reader.holds(name):
                seen.add(name)
                digest.update(f"{name} {_state(records.reader, name)}\n".encode("utf-8", errors="surrogatepass"))
    return digest.hexdigest()


def _state(reader: Reader, name: str) -> str:
    try:
        found = reader.file(name).stat()
    except (ValueError, OSError) as error:
        return type(error).__name__
    return f"{found.st_size} {found.st_mtime_ns}"

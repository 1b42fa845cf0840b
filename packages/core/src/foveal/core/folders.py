"""Files and folders that are written completely or not at all.

All work is done in a hidden folder next to the target, `.TARGET.foveal-writing`, which contains:

lock        held by the process that writes; released when that process ends, however it ends
new         the content being written
old         the content being replaced, if the file system cannot exchange two names; restored if the target is missing
rest        content being deleted
"""

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WORKPLACE = ".{}.foveal-writing"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `target` at the end, or is removed if anything goes wrong.

    Readers always find the old or the new folder, even after the process is killed. If the file system cannot exchange
    two names, a kill between two renames leaves neither; the next write restores the old one.

    Raises:
        ValueError: if `target` is a file, or another process is writing it.
        OSError: if it cannot be written.
    """
    target = target.resolve()
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target} is a file: choose another name for the folder")
    with _workplace(target) as place:
        new = place / "new"
        new.mkdir()
        yield new
        mode = new.stat().st_mode & 0o666
        for path in new.rglob("*"):
            if path.is_file() and not path.is_symlink():
                _settle(path, mode)
        if not _exchanged(new, target):
            if target.exists():
                os.replace(target, place / "old")
            os.replace(new, target)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield the path of a file that becomes `target` at the end, or is removed if anything goes wrong.

    Raises:
        ValueError: if another process is writing it.
        OSError: if it cannot be written.
    """
    target = target.resolve()
    with _workplace(target) as place:
        folder = place / "new"
        folder.mkdir()
        yield folder / target.name
        _settle(folder / target.name, folder.stat().st_mode & 0o666)
        os.replace(folder / target.name, target)


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """Yield the hidden folder next to `target`, locked for this process; it is cleaned before and removed after."""
    place = target.with_name(WORKPLACE.format(target.name))
    lock = _locked(place / "lock", target)
    try:
        _tidy(place, target)
        yield place
    finally:
        try:
            _tidy(place, target)
            # The lock is removed last: after that, everything in the folder may belong to another process.
            (place / "lock").unlink(missing_ok=True)
            with suppress(OSError):
                place.rmdir()
        finally:
            os.close(lock)


def _locked(path: Path, target: Path) -> int:
    """The descriptor of a lock that is released when the process ends, even if it is killed."""
    # Not at the top: fcntl is missing on some systems where the rest of this package works.
    import fcntl

    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            # Another process has just finished and removed the folder.
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise ValueError(
                f"{target} is being written by another process: wait until that has finished, or choose another name"
            ) from error
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        # Locked, but the file was removed in the meantime: no other process would see this lock.
        os.close(descriptor)


def _tidy(place: Path, target: Path) -> None:
    """Remove unfinished content, and restore the content that was moved aside for it."""
    new, old, rest = (place / name for name in ("new", "old", "rest"))
    shutil.rmtree(rest, ignore_errors=True)
    if old.exists():
        # A folder called old is complete: it is renamed to rest before it is deleted.
        os.replace(old, rest if target.exists() else target)
    for folder in (new, rest):
        shutil.rmtree(folder, ignore_errors=True)


def _settle(path: Path, mode: int) -> None:
    """Flush a file to disk, with the permissions of a new file (libraries write some files as 0600)."""
    path.chmod(mode)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _exchanged(new: Path, target: Path) -> bool:
    """Exchange the names of two folders atomically; False if the system cannot, or there is no `target`."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(new), here, os.fsencode(target), exchange) == 0

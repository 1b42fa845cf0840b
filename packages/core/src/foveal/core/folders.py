"""Files and folders that are written completely or not at all.

Everything happens in a hidden folder beside the target, `.TARGET.foveal-writing`:

lock        held by the process at work, and free again when that ends in whatever way
new         what is being written
old         what it replaces, on file systems that cannot exchange two names; put back if the target is missing
rest        what is being deleted
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
    """Give an empty folder next to `target` that replaces it at the end, or is removed if anything goes wrong.

    Readers find the old or the new one at any time, also after the process was killed. Where the file system cannot
    exchange two names, a kill between two renames leaves none; the next writing puts the old one back.

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
    """Give the path of a file that becomes `target` at the end, or is removed if anything goes wrong.

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
    """The hidden folder beside `target`, for this process alone, tidy before and removed after."""
    place = target.with_name(WORKPLACE.format(target.name))
    lock = _locked(place / "lock", target)
    try:
        _tidy(place, target)
        yield place
    finally:
        try:
            _tidy(place, target)
            # The lock goes last: from then on everything in here is another's.
            (place / "lock").unlink(missing_ok=True)
            with suppress(OSError):
                place.rmdir()
        finally:
            os.close(lock)


def _locked(path: Path, target: Path) -> int:
    """The descriptor of a lock that ends with the process, even a killed one."""
    # Not above: it is missing where the rest of this package works.
    import fcntl

    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            # Another one has just finished and removed the folder.
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
        # Locked, but removed in between: a lock that nobody else would see.
        os.close(descriptor)


def _tidy(place: Path, target: Path) -> None:
    """Remove what was not finished, and put back what was moved aside for it."""
    new, old, rest = (place / name for name in ("new", "old", "rest"))
    shutil.rmtree(rest, ignore_errors=True)
    if old.exists():
        # What is called old is whole: it is renamed before it is deleted.
        os.replace(old, rest if target.exists() else target)
    for folder in (new, rest):
        shutil.rmtree(folder, ignore_errors=True)


def _settle(path: Path, mode: int) -> None:
    """Bring a file onto the disk, with the permissions that a new file gets (libraries write some as 0600)."""
    path.chmod(mode)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _exchanged(new: Path, target: Path) -> bool:
    """Let two folders swap their names in one step; False where there is no such step or no `target`."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(new), here, os.fsencode(target), exchange) == 0

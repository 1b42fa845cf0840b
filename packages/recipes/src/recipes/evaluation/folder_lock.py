"""One evaluation at a time in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other evaluations out of a folder until this one ends, however it ends.

    Args:
        folder: it exists.

    Raises:
        ValueError: if another evaluation is in it.
        OSError: if nothing can be written there.
    """
    # Not at the top: fcntl is missing on some systems where the rest of this package works.
    import fcntl

    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another evaluation is writing into {folder}: wait until it has ended, or give another --output"
            ) from error
        yield

"""Keep other processes away from what this one writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path, otherwise: str) -> Iterator[None]:
    """Hold a lock on a file until this process leaves the context, or ends in whatever way.

    Args:
        file: stands for what is written; it is created if it is missing, and stays as it is.
        otherwise: message of the error if another process holds the lock.

    Raises:
        ValueError: if another process holds it.
        OSError: if the file cannot be written.
    """
    # Not at the top: fcntl is missing on some systems where the rest of this package works.
    import fcntl

    with file.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(otherwise) from error
        yield

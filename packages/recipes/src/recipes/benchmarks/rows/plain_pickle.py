"""Read pickles that hold nothing but lists, dictionaries, texts and numbers."""

import pickle
from pathlib import Path
from typing import Any

MAX_BYTES = 1_000_000_000


def read_plain_pickle(path: Path) -> Any:
    """The content of a pickle. A pickle is a program: one that names any class or function is refused, before it runs.

    Raises:
        ValueError: for anything but plain types, and if the file is damaged or has more than `MAX_BYTES`.
        OSError: if it cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has more than {MAX_BYTES // 10**6} MB")
    with path.open("rb") as stream:
        try:
            return _PlainUnpickler(stream, encoding="utf-8").load()
        except _NotPlainError as error:
            raise ValueError(
                f"{path} is refused: it names {error}, and a pickle with more than plain types can run anything"
            ) from error
        except Exception as error:  # a damaged pickle raises errors of every kind
            raise ValueError(f"{path}: damaged, or no pickle ({type(error).__name__}: {str(error)[:100]})") from error


class _NotPlainError(Exception):
    """A pickle names a class or a function."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise _NotPlainError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise _NotPlainError("an object outside of the file")

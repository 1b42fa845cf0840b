"""One row of a benchmark's files, before it becomes a question."""

import os
import re
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SHOWN = 12
"""Names of files that a message lists."""
FIELD = re.compile(r"\{([^{}:]+)(?::0(\d{1,2})d)?\}")


class Row(NamedTuple):
    """A row.

    Attributes:
        where: file and line, for messages.
        number: its position in its file, from 1.
        fields: what it holds, by name; a picture that is stored in the row is a `PictureOf`.
    """

    where: str
    number: int
    fields: Mapping[str, Any]

    def of(self, key: str) -> Any:
        """The value of a field.

        Raises:
            ValueError: naming file and field, if it is missing.
        """
        if key not in self.fields:
            raise ValueError(f"{self.where}: there is no {key!r:.60}, only {', '.join(map(str, self.fields)):.200}")
        return self.fields[key]

    def text(self, key: str) -> str:
        """The value of a field that holds a text or a number, as a text.

        Raises:
            ValueError: naming file and field, if it is missing or holds something else.
        """
        value = self.of(key)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"{self.where}, {key}: a text is expected, not {shown(value)}")
        return str(value)

    def fields_of(self, template: str) -> list[str]:
        """Names of the fields in a template; `{number}` is none, unless the row has such a field."""
        names = [key for key, _ in FIELD.findall(template)]
        return [name for name in names if name != "number" or name in self.fields]

    def filled(self, template: str) -> str:
        """A template with fields in it, such as `val2014/COCO_val2014_{image_id:012d}.jpg`; `{number}` is the row's.

        Raises:
            ValueError: naming file and field, if one is missing, or `:012d` is wanted of what is no number.
        """

        def value(match: re.Match[str]) -> str:
            key, digits = match.groups()
            text = self.text(key) if key in self.fields or key != "number" else str(self.number)
            if digits is None:
                return text
            if not text.isascii() or not text.isdigit():
                raise ValueError(f"{self.where}, {key}: a whole number is expected, not {text!r:.100}")
            return text.zfill(int(digits))

        return FIELD.sub(value, template)


class Rows(ABC):
    """Reads the rows of files in some layout."""

    @abstractmethod
    def rows(self, folder: Path) -> Iterator[Row]:
        """All rows, in order.

        Args:
            folder: the folder of the benchmark's files.

        Raises:
            NoFileError: if these files are not there.
            ValueError: naming file and line, if something cannot be read.
            OSError: if a file cannot be read.
        """


def shown(value: Any) -> str:
    """A value in a message; of large or nested ones only a part is looked at, since lists may share their elements."""
    return reprlib.repr(value)[:100]


def an_object(value: Any, where: str) -> Mapping[str, Any]:
    """The value itself.

    Raises:
        ValueError: if it is no object.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: an object is expected, not {shown(value)}")
    return value


def a_list(value: Any, where: str) -> list[Any]:
    """The value itself.

    Raises:
        ValueError: if it is no list.
    """
    if not isinstance(value, list):
        raise ValueError(f"{where}: a list is expected, not {shown(value)}")
    return value


class NoFileError(ValueError):
    """A benchmark's files are not in the folder.

    Attributes:
        names: the names that they may have.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.names = tuple(names)
        there = sorted(path.name for path in folder.iterdir())[: SHOWN + 1] if folder.is_dir() else []
        content = ", ".join(there[:SHOWN]) + (" ..." if len(there) > SHOWN else "")
        super().__init__(
            f"{folder} has none of {' or '.join(self.names)}; it holds {content or 'nothing'}.\n"
            "Give the folder with the benchmark's files as --data"
        )


def inside(folder: Path, name: str) -> Path:
    """The path of a file, a folder or a pattern that a benchmark names.

    Links in the folder may lead elsewhere: they are the user's own.

    Raises:
        ValueError: if the name itself leads out of the folder.
    """
    plain = os.path.normpath(name)
    if os.path.isabs(plain) or plain.split(os.sep)[0] == os.pardir:
        raise ValueError(
            f"the benchmark names {name!r:.200}, which is outside of {folder}: it may only read what is in the folder "
            "that is given as --data"
        )
    return folder / plain


def found(folder: Path, names: Sequence[str]) -> Path:
    """The first of some files or folders that is there.

    Raises:
        NoFileError: naming all of them, if there is none.
        ValueError: as for `inside`.
    """
    for path in (inside(folder, name) for name in names):
        if path.exists():
            return path
    raise NoFileError(folder, names)

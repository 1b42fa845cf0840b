"""The contract of readers: where records come from, and where the pictures that they name are."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from recipes.reading.pictures import Source


class RawRecord(NamedTuple):
    """A record as it was read, before its shape is checked.

    Attributes:
        number: its line, or its position from 1; it names the record together with the file.
        where: its location, for messages.
        value: the record, as JSON would hold it; pictures are named, even where their bytes are stored beside the text.
    """

    number: int
    where: str
    value: Any


class Reader(ABC):
    """Reads records from a file or a folder.

    A reader is sent to loader workers: it keeps paths and no open file. Its pictures are read in any order, by any
    process.

    Attributes:
        path: the file or folder that the user has named.
    """

    path: Path

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that hold the records, in their order; if none of them changes, the records stay the same."""

    @abstractmethod
    def records(self) -> Iterator[RawRecord]:
        """All records, in their order.

        Raises:
            ValueError: naming file and record, if something cannot be read.
            OSError: if a file cannot be read.
        """

    @abstractmethod
    def location(self, number: int) -> str:
        """The location of a record, for messages."""

    def holds(self, name: str) -> bool:
        """Whether a picture is stored in the records' own files, so that it cannot change without them."""
        return name.startswith("data:")

    @abstractmethod
    def file(self, name: str) -> Path:
        """The file of a picture that the records' own files do not hold.

        Raises:
            ValueError: as for `picture`.
        """

    @abstractmethod
    def picture(self, name: str, where: str) -> Source:
        """A picture that a record names.

        Args:
            name: as the record has it.
            where: location of the name, for messages.

        Raises:
            ValueError: if it is missing, or may not be read.
        """

"""The pictures and videos of questions, which are found when they are needed."""

import os
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from recipes.reading.pictures import PictureFolder, Source, from_base64
from recipes.reading.reader import Reader
from recipes.reading.table_reader import TableReader


@dataclass(frozen=True)
class FilePicture:
    """A picture that is a file in a folder.

    Attributes:
        name: relative to the folder.
        folder: where it is.
        where: file and line that name it, for messages.
    """

    name: str
    folder: PictureFolder
    where: str

    def find(self) -> Source:
        return self.folder.find(self.name, self.where)


@dataclass(frozen=True)
class FileVideo:
    """A video that is a file in a folder.

    Attributes:
        names: that it may have, relative to the folder, with different endings.
        folder: where it is.
        where: file and line that name it, for messages.
    """

    names: tuple[str, ...]
    folder: PictureFolder
    where: str

    @property
    def name(self) -> str:
        """The first of the names under which there is a file; the first of all if there is none."""
        # False for what is no name of a file.
        return next((name for name in self.names if os.path.isfile(self.folder.root / name)), self.names[0])

    def find(self) -> Path:
        """The file.

        Raises:
            ValueError: naming the record, if it is missing or outside of the folder.
        """
        if not os.path.isfile(self.folder.root / self.name):
            raise ValueError(f"{self.where}: its video is missing: {self.folder.root / self.name!s:.500}")
        return self.folder.file(self.name, self.where)


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture whose bytes are in a table.

    Attributes:
        name: a hash of the bytes, since rows repeat pictures.
        reader: of the table.
        place: the reader's name for it.
        where: file and row, for messages.
    """

    name: str
    reader: TableReader
    place: str
    where: str

    def find(self) -> Source:
        return self.reader.picture(self.place, self.where)


@dataclass(frozen=True)
class ReaderPicture:
    """A picture that a record of training data names.

    Attributes:
        name: as the record has it.
        reader: of the records.
        where: file and record, for messages.
    """

    name: str
    reader: Reader
    where: str

    def find(self) -> Source:
        return self.reader.picture(self.name, self.where)


@dataclass(frozen=True)
class WrittenPicture:
    """A picture that is written out as base64; its name is a hash of the text.

    Attributes:
        text: the base64.
        where: file and line, for messages.
    """

    text: str
    where: str

    @cached_property
    def name(self) -> str:
        return picture_digest(self.text.encode())

    def find(self) -> Source:
        return from_base64(self.text, self.where)


def picture_digest(content: bytes) -> str:
    """A name for a picture by what it holds."""
    return blake2b(content, digest_size=16).hexdigest()

"""The files of an index, and the conversations in them."""

import json
import math
import mmap
import os
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from foveal.core import Size
from foveal.models import Turn
from recipes.data.records import Array, Records
from recipes.reading.pictures import Source
from recipes.reading.reader import Reader

TEXTS, ABOUT, FAULTS = "texts.bin", "index.json", "faults.json"
BETWEEN_CHECKS = 1.0
"""Seconds between two checks that files with pictures are unchanged."""
ARRAYS = {
    "starts": "first byte of each record in texts.bin, and the end",
    "first_pictures": "number of the first picture of each record in sizes, and the end",
    "answers": "number of answers of each record",
    "words": "number of words of each record; negative: it has no picture",
    "sizes": "[pictures, 2], width and height of each; 0: it could not be read",
}


class ChangedError(OSError):
    """A data file was changed while it is in use: none of its samples can be trusted, so that none is left out."""


class IndexedRecords(Records):
    """The conversations of one file, from its index.

    Sent to another process, it takes along only names, and maps the same files there.

    Args:
        folder: of the index.
        reader: of the file, which finds the pictures.
    """

    def __init__(self, folder: Path, reader: Reader) -> None:
        self.folder, self.reader, self.source = folder, reader, str(reader.path)
        self.about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))

    _checked_at = -math.inf

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "reader": self.reader, "source": self.source, "about": self.about}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if json.loads((self.folder / ABOUT).read_text(encoding="utf-8")) != self.about:
            raise ValueError(f"{self.source} was changed and indexed again by another run: start this run again")

    def check(self) -> None:
        """Check that all files of the index are there and have the sizes that they should have.

        Raises:
            ValueError: if they have not.
            OSError: if one cannot be read.
        """
        arrays = {name: self._array(name) for name in ARRAYS}
        rows = len(self) + 1
        expected = {"starts": rows, "first_pictures": rows, "answers": len(self), "words": len(self)}
        sizes = all(len(arrays[name]) == count for name, count in expected.items())
        if not sizes or len(arrays["sizes"]) != self.pictures or len(self._texts) != int(self._starts[-1]):
            raise ValueError(f"the index {self.folder} is damaged")
        _ = self.faults

    @property
    def fingerprint(self) -> str:
        return str(self.about["fingerprint"])

    @cached_property
    def faults(self) -> Mapping[int, str]:  # type: ignore[override]  # read when first asked for
        stored = json.loads((self.folder / FAULTS).read_text(encoding="utf-8"))
        return {int(number): fault for number, fault in stored.items()}

    @cached_property
    def modality_lengths(self) -> Array:  # type: ignore[override]
        return self._array("words")

    @cached_property
    def answers(self) -> Array:  # type: ignore[override]
        return self._array("answers")

    def __len__(self) -> int:
        return int(self.about["records"])

    @property
    def pictures(self) -> int:
        """Number of pictures in all records."""
        return int(self._first_pictures[-1])

    def pictures_of(self, number: int) -> int:
        """Number of pictures of a record."""
        first, end = self._first_pictures[number : number + 2]
        return int(end - first)

    def with_pictures(self) -> list[int]:
        """The numbers of the records with pictures."""
        numbers: list[int] = np.flatnonzero(np.diff(self._first_pictures)).tolist()
        return numbers

    def text(self, number: int) -> tuple[str, tuple[Turn, ...]]:
        line, name, _, turns = self._stored(number)
        key = self.reader.location(line) if name is None else str(name)
        return key, () if number in self.faults else tuple(Turn(role, text) for role, text in turns)

    def names(self, number: int) -> list[str]:
        """The names of a record's pictures."""
        names: list[str] = self._stored(number)[2]
        return names

    def location(self, number: int) -> str:
        line, name, *_ = self._stored(number)
        where = self.reader.location(line)
        return where if name is None else f"{where} (id {name})"

    def sizes(self, number: int) -> tuple[Size, ...]:
        first, end = self._first_pictures[number : number + 2]
        return tuple(Size(int(width), int(height)) for width, height in self._sizes[first:end])

    def images(self, number: int) -> tuple[Source, ...]:
        names, where = self.names(number), f"{self.location(number)}, image"
        if any(map(self.reader.holds, names)):
            self._check_files()
        return tuple(self.reader.picture(name, where) for name in names)

    def _check_files(self) -> None:
        """Check now and then that the files which hold pictures are those that were indexed.

        Raises:
            ChangedError: if one was changed: its pictures would be others, with the texts of before.
        """
        if time.monotonic() - self._checked_at < BETWEEN_CHECKS:
            return
        for name, size, changed, *_ in self.about["files"]:
            found = os.stat(name)
            if (found.st_size, found.st_mtime_ns) != (size, changed):
                raise ChangedError(f"{name} was changed after it was indexed: start the run again")
        self._checked_at = time.monotonic()

    def _stored(self, number: int) -> list[Any]:
        start, end = self._starts[number : number + 2]
        stored: list[Any] = json.loads(self._texts[start:end].decode("utf-8", errors="surrogatepass"))
        return stored

    @cached_property
    def _texts(self) -> mmap.mmap:
        with (self.folder / TEXTS).open("rb") as stream:
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def _starts(self) -> Array:
        return self._array("starts")

    @cached_property
    def _first_pictures(self) -> Array:
        return self._array("first_pictures")

    @cached_property
    def _sizes(self) -> Array:
        return self._array("sizes")

    def _array(self, name: str) -> Array:
        array: Array = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return array

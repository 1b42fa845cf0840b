"""Several files of conversations as one, each with a weight."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foveal.core import Size
from foveal.limited_yaml import read_yaml
from foveal.models import Turn
from recipes.data.bad_samples import BadSamples
from recipes.data.index.open_records import open_records
from recipes.data.records import Array, Records
from recipes.reading.json_file import check_plain
from recipes.reading.pictures import Source

SUFFIXES = (".yaml", ".yml")
KEYS = ("path", "images", "weight")
MOST = 1000
"""Largest weight."""


@dataclass(frozen=True)
class Part:
    """One file of a mixture.

    Attributes:
        path: the file or folder.
        images: folder that the names of pictures are relative to; None: the file's own.
        weight: how often each of its records comes in an epoch; of a fraction, the same random records always.
    """

    path: Path
    images: Path | None
    weight: float


def open_data(
    path: str | Path, images: str | Path | None = None, *, policy: BadSamples | None = BadSamples()
) -> Records:
    """Open the conversations of a file, or of all files that a mixture in YAML names.

    Args:
        path: as for `open_records`, or a mixture: `.yaml` or `.yml`.
        images: as for `open_records`; a mixture names its own folders.
        policy: as for `open_records`; it holds for each file of a mixture by itself.

    Raises:
        ValueError: as for `open_records`; if the mixture is not as `read_mixture` wants it.
        OSError: if a file cannot be read.
    """
    source = Path(path)
    if source.suffix.lower() not in SUFFIXES:
        return open_records(path, images, policy=policy)
    if images is not None:
        raise ValueError(f"{source} is a mixture, which names the folder of each file's pictures: leave {images} out")
    parts = read_mixture(source)
    records = [open_records(part.path, part.images, policy=policy) for part in parts]
    return MixedRecords(str(source), records, [part.weight for part in parts])


def read_mixture(file: Path) -> list[Part]:
    """The files that a mixture names: a list `sources` of objects with `path`, and if wanted `images` and `weight`.

    Relative paths start at the mixture's own folder. The weight is 1 if it is left out.

    Raises:
        ValueError: naming the source and the key that is missing, unknown or wrong.
        OSError: if the file cannot be read.
    """
    check_plain(file)
    value = read_yaml(file)
    sources = value.get("sources") if isinstance(value, dict) and set(value) == {"sources"} else None
    if not isinstance(sources, list) or not sources:
        raise ValueError(
            f"{file}: a mixture has the key 'sources' alone, with a list of objects with {', '.join(KEYS)}"
        )
    return [_part(each, file.parent, f"{file}, source {number}") for number, each in enumerate(sources, start=1)]


def _part(value: Any, folder: Path, where: str) -> Part:
    if not isinstance(value, dict) or not {"path"} <= set(value) <= set(KEYS):
        raise ValueError(f"{where}: give an object with 'path', and if wanted 'images' and 'weight'; nothing else")
    path, images, weight = value["path"], value.get("images"), value.get("weight", 1)
    for name, given in (("path", path), ("images", images)):
        named = isinstance(given, str) and "\0" not in given
        if not named and not (given is None and name == "images"):
            raise ValueError(f"{where}: {name} must be a name, not {given!r}")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= MOST:
        raise ValueError(f"{where}: weight must be a number above 0 and at most {MOST}, not {weight!r}")
    if Path(path).suffix.lower() in SUFFIXES:
        raise ValueError(f"{where}: {path} is a mixture; name its files here instead")
    part = Part(folder / path, None if images is None else folder / images, float(weight))
    if not part.path.exists():
        raise ValueError(f"{where}: there is no file or folder {part.path}")
    if part.images is not None and not part.images.is_dir():
        raise ValueError(f"{where}: there is no image folder {part.images}")
    return part


class MixedRecords(Records):
    """The records of several files, one file after the other; each as often as its weight says.

    Args:
        source: name of the whole, for messages.
        parts: the files' records.
        weights: for each file, how often each of its records comes; of a fraction, random records, but always the same.

    Raises:
        ValueError: if a weight leaves no record of its file.
    """

    def __init__(self, source: str, parts: Sequence[Records], weights: Sequence[float]) -> None:
        self.source, self.parts, self.weights = source, tuple(parts), tuple(weights)
        rows = [_chosen(part, weight) for part, weight in zip(parts, weights, strict=True)]
        self._part = np.repeat(np.arange(len(parts), dtype=np.int32), [len(each) for each in rows])
        self._row = np.concatenate(rows)
        self.modality_lengths = self.joined([part.modality_lengths for part in parts])
        self.answers = self.joined([part.answers for part in parts])
        self.faults = self.numbered([part.faults for part in parts])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.parts, self.weights)

    @property
    def fingerprint(self) -> str:
        described = [(part.fingerprint, weight) for part, weight in zip(self.parts, self.weights, strict=True)]
        return hashlib.sha256(repr(described).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._row)

    def text(self, number: int) -> tuple[str, tuple[Turn, ...]]:
        part, row = self._place(number)
        return part.text(row)

    def location(self, number: int) -> str:
        part, row = self._place(number)
        return part.location(row)

    def sizes(self, number: int) -> tuple[Size, ...]:
        part, row = self._place(number)
        return part.sizes(row)

    def images(self, number: int) -> tuple[Source, ...]:
        part, row = self._place(number)
        return part.images(row)

    def joined(self, columns: Sequence[Array]) -> Array:
        """A column for all records, from one for each file."""
        pieces = [column[self._row[self._part == number]] for number, column in enumerate(columns)]
        return np.concatenate(pieces)

    def numbered(self, messages: Sequence[Mapping[int, str]]) -> dict[int, str]:
        """Messages for records of each file by their numbers there, by their numbers here."""
        found: dict[int, str] = {}
        for part, own in enumerate(messages):
            if own:
                among = np.flatnonzero((self._part == part) & np.isin(self._row, list(own)))
                found |= {int(number): own[int(self._row[number])] for number in among}
        return found

    def _place(self, number: int) -> tuple[Records, int]:
        return self.parts[self._part[number]], int(self._row[number])


def _chosen(records: Records, weight: float) -> Array:
    """The numbers of the records that come in an epoch, in their order."""
    whole, more = int(weight), round((weight - int(weight)) * len(records))
    random = torch.randperm(len(records), generator=torch.Generator().manual_seed(0)).numpy()
    chosen: Array = np.sort(np.concatenate([np.tile(np.arange(len(records)), whole), random[:more]]))
    if not len(chosen):
        raise ValueError(f"a weight of {weight} leaves none of the {len(records)} records of {records.source}")
    return chosen

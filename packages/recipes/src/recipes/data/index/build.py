"""Make the index of a file's conversations."""

import hashlib
import json
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foveal.core import Size
from foveal.models import BadImageError
from recipes.data.index.check import checked, printable
from recipes.data.index.stored import ABOUT, ARRAYS, FAULTS, TEXTS, IndexedRecords
from recipes.data.parallel import FEW, counting, in_chunks
from recipes.data.records import Array
from recipes.reading.pictures import Source, picture_size
from recipes.reading.reader import Reader


def build_index(reader: Reader, folder: Path, about: Mapping[str, Any]) -> None:
    """Read all records and the headers of their pictures, and write what the index keeps of them.

    Args:
        reader: of the file.
        folder: an empty folder.
        about: what the index was made from; stored with it.

    Raises:
        ValueError: if there are no records, or as for `Reader.records`.
    """
    faults = _write_texts(reader, folder, about)
    records = IndexedRecords(folder, reader)
    sizes = [np.zeros((0, 2), dtype=np.int32)]
    work, label = _Headers(records), f"reading pictures' headers of {reader.path}"
    looked_at = len(records) if records.pictures else 0
    for of_chunk, found in in_chunks(work, looked_at, label, parallel=records.pictures > FEW):
        sizes.append(of_chunk)
        faults |= found
    np.save(folder / "sizes.npy", np.concatenate(sizes))
    (folder / FAULTS).write_text(json.dumps(faults), encoding="utf-8")
    if faults:
        answers = np.load(folder / "answers.npy")
        answers[list(faults)] = 0
        np.save(folder / "answers.npy", answers)


def _write_texts(reader: Reader, folder: Path, about: Mapping[str, Any]) -> dict[int, str]:
    """Write all that does not need the pictures; return the faults that were found."""
    starts, first_pictures, answers, words = array("q", [0]), array("q", [0]), array("i"), array("i")
    faults, digest = {}, hashlib.sha256()
    with (folder / TEXTS).open("wb") as texts, counting(f"indexing {reader.path}") as counted:
        for raw in counted(reader.records()):
            record = checked(raw)
            texts.write(record.stored)
            digest.update(record.stored)
            if record.fault:
                faults[len(words)] = record.fault
            starts.append(starts[-1] + len(record.stored))
            first_pictures.append(first_pictures[-1] + record.pictures)
            answers.append(record.answers)
            words.append(record.words)
    if not words:
        raise ValueError(f"{reader.path} has no records")
    columns = {"starts": starts, "first_pictures": first_pictures, "answers": answers, "words": words}
    for name in ARRAYS.keys() & columns.keys():
        np.save(folder / f"{name}.npy", np.array(columns[name]))
    described = {**about, "records": len(words), "fingerprint": digest.hexdigest()}
    (folder / ABOUT).write_text(json.dumps(described, indent=1), encoding="utf-8")
    return faults


class _Headers:
    """Finds the pictures of a chunk of records, and reads their headers.

    Args:
        records: as far as the index exists.
    """

    def __init__(self, records: IndexedRecords) -> None:
        self.records = records

    def __call__(self, chunk: range) -> tuple[Array, dict[int, str]]:
        """[pictures, 2], width and height of every picture of the chunk, 0 if it cannot be read; and the faults."""
        records = self.records
        # By name: pictures that are embedded would be kept as bytes otherwise.
        known: dict[str, Size] = {}
        sizes: list[Size | tuple[int, int]] = []
        faults: dict[int, str] = {}
        for number in chunk:
            if not records.pictures_of(number):
                continue
            where = f"{records.location(number)}, image"
            for name in records.names(number):
                try:
                    if name not in known:
                        known[name] = _size(records.reader.picture(name, where), where)
                    sizes.append(known[name])
                except ValueError as error:
                    sizes.append((0, 0))
                    faults.setdefault(number, printable(str(error)))
        return np.array(sizes, dtype=np.int32).reshape(-1, 2), faults


def _size(source: Source, where: str) -> Size:
    try:
        return picture_size(source)
    except BadImageError as error:
        raise ValueError(f"{where}: {error}") from error

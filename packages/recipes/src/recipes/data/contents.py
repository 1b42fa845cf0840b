"""Decode the pictures of all records, in parallel, going on where an earlier pass was ended."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from foveal.models import BadImageError
from recipes.data.index.open_records import LOOKED_AT, alone
from recipes.data.index.stored import IndexedRecords
from recipes.data.parallel import CHUNK, in_chunks
from recipes.reading.pictures import read_picture

FEW = 200
"""Number of records up to which decoding takes less time than starting processes."""


@dataclass(frozen=True)
class Contents:
    """What some records hold.

    Attributes:
        faults: why records cannot be used whose pictures are damaged, by number.
        roles: number of turns of each role.
        hashes: for each usable record, its number and a hash of its texts and its pictures' bytes.
    """

    faults: dict[int, str] = field(default_factory=dict)
    roles: dict[str, int] = field(default_factory=dict)
    hashes: list[tuple[int, str]] = field(default_factory=list)


def read_contents(records: IndexedRecords) -> Contents:
    """Decode the pictures of all records.

    Every chunk is written into a file beside the index when it is done, so that a pass that was ended goes on. A
    complete pass is made again only if there are more pictures than are looked at when the index is opened.

    Args:
        records: the conversations of one file.
    """
    journal = records.folder / "contents.jsonl"
    with alone(records.folder):
        done = list(_written(journal))
        if len(done) * CHUNK >= len(records) and records.pictures > LOOKED_AT:
            journal.unlink()
            done = []
        rest = _Reading(records, start=len(done))
        number = max(0, len(records) - len(done) * CHUNK)
        label = f"decoding pictures of {records.source}"
        with journal.open("a", encoding="utf-8") as stream:
            for contents in in_chunks(rest, number, label, parallel=number > FEW):
                stream.write(json.dumps(asdict(contents)) + "\n")
                stream.flush()
                done.append(contents)
    faults: dict[int, str] = {}
    roles = Counter[str]()
    for contents in done:
        faults |= contents.faults
        roles.update(contents.roles)
    return Contents(faults, dict(roles), [pair for contents in done for pair in contents.hashes])


def _written(journal: Path) -> Iterator[Contents]:
    """The chunks of an earlier pass, up to a line that is damaged, or that a killed process has left incomplete."""
    if not journal.exists():
        return
    done = 0
    for line in journal.read_bytes().splitlines(keepends=True):
        try:
            if not line.endswith(b"\n"):
                break
            stored: dict[str, Any] = json.loads(line)
            faults = {int(number): fault for number, fault in stored["faults"].items()}
            contents = Contents(faults, stored["roles"], [(number, found) for number, found in stored["hashes"]])
        except (ValueError, TypeError, LookupError, AttributeError):
            break
        done += len(line)
        yield contents
    with journal.open("rb+") as stream:
        stream.truncate(done)


class _Reading:
    """Decodes the pictures of a chunk of records.

    Args:
        records: the conversations of one file.
        start: number of chunks that are done.
    """

    def __init__(self, records: IndexedRecords, start: int) -> None:
        self.records, self.start = records, start

    def __call__(self, chunk: range) -> Contents:
        faults: dict[int, str] = {}
        roles, hashes = Counter[str](), []
        for number in range(chunk.start + self.start * CHUNK, chunk.stop + self.start * CHUNK):
            if number in self.records.faults:
                continue
            _, turns = self.records.text(number)
            roles.update(turn.role for turn in turns)
            digest = hashlib.blake2b(repr(turns).encode(), digest_size=16)
            try:
                for source in self.records.images(number):
                    read_picture(source)
                    digest.update(hashlib.blake2b(_bytes_of(source)).digest())
            except (BadImageError, OSError) as error:
                faults[number] = f"{self.records.location(number)}, image: {error}"
            except ValueError as error:
                faults[number] = str(error)
            else:
                hashes.append((number, digest.hexdigest()))
        return Contents(faults, dict(roles), hashes)


def _bytes_of(source: Any) -> bytes:
    if isinstance(source, Path):
        return source.read_bytes()
    return source if isinstance(source, bytes) else repr(source).encode()

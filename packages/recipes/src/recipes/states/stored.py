"""Read tensors of a state, whole or by rows, however they were distributed over the ranks that wrote it."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from recipes.states.entries import missing_entry
from recipes.states.folder import MANIFEST, StateError, damaged, read_manifest
from recipes.states.pieces import piece_of
from recipes.states.ranks import Ranks


class StoredState:
    """A complete state, opened for reading.

    Args:
        folder: the state's folder.

    Raises:
        StateError: if its manifest is damaged or of another format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self._open: dict[str, Any] = {}

    def verify(self, ranks: Ranks) -> None:
        """Compare every file with its checksum; the ranks share the work, and all must call this together.

        Raises:
            StateError: on all ranks, naming the damaged file.
        """
        fault = None
        for number, (name, expected) in enumerate(sorted(self.manifest["files"].items())):
            if number % ranks.world == ranks.rank and fault is None:
                fault = _fault(self.folder / name, expected)
        faults = [each for each in ranks.gathered(fault) if each is not None]
        if faults:
            raise StateError(faults[0])

    def check_complete(self) -> None:
        """Refuse a state that does not say everything about its run.

        Raises:
            StateError: naming the entry.
        """
        if missing := missing_entry(self.manifest):
            raise StateError(damaged(self.folder / MANIFEST, f"it has no {missing}"))

    def names(self, prefix: str) -> list[str]:
        """Names of tensors that begin with `prefix`, without the prefix."""
        return [name.removeprefix(prefix) for name in self.manifest["tensors"] if name.startswith(prefix)]

    def whole(self, name: str) -> Tensor:
        """A tensor with all its rows.

        Raises:
            StateError: if the state has no such tensor, or some of its rows are missing.
        """
        pieces = self._pieces(name)
        parts = [self._file(piece["file"]).get_tensor(name) for piece in pieces]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def fill(self, tensor: Tensor, name: str) -> None:
        """Copy the stored values into the rows of `tensor` that this rank holds.

        Raises:
            StateError: if the state has no such tensor, or it has another shape.
        """
        own = piece_of(tensor, 0)
        pieces = self._pieces(name)
        if not own.shape:
            number = self.whole(name)
            if number.shape:
                raise StateError(f"{self.folder}: {name} is {tuple(number.shape)}, in this run it is a single number")
            own.rows.copy_(number)
            return
        if (total := sum(piece["rows"] for piece in pieces)) != own.shape[0]:
            raise StateError(f"{self.folder}: {name} has {total} rows, in this run it has {own.shape[0]}")
        last = own.first + len(own.rows)
        for piece in pieces:
            start, stop = max(own.first, piece["first"]), min(last, piece["first"] + piece["rows"])
            if start < stop:
                rows = self._file(piece["file"]).get_slice(name)[start - piece["first"] : stop - piece["first"]]
                target = own.rows[start - own.first : stop - own.first]
                if rows.shape != target.shape:
                    raise StateError(
                        f"{self.folder}: the rows of {name} are {tuple(rows.shape[1:])}, in this run "
                        f"{tuple(target.shape[1:])}"
                    )
                target.copy_(rows)

    def _pieces(self, name: str) -> list[dict[str, Any]]:
        pieces: list[dict[str, Any]] | None = self.manifest["tensors"].get(name)
        if pieces is None:
            raise StateError(f"{self.folder} has no {name}")
        return sorted(pieces, key=lambda piece: piece["first"])

    def _file(self, name: str) -> Any:
        if name not in self._open:
            path = self.folder / name
            if name not in self.manifest["files"]:
                raise StateError(damaged(self.folder / MANIFEST, f"it names the file {name!r:.100}"))
            try:
                self._open[name] = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise StateError(damaged(path, str(error))) from error
        return self._open[name]


def _fault(path: Path, expected: dict[str, Any]) -> str | None:
    if not path.is_file():
        return damaged(path, "it is missing")
    if path.stat().st_size != expected["bytes"]:
        return damaged(path, f"it has {path.stat().st_size} of {expected['bytes']} bytes")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    return None if found == expected["sha256"] else damaged(path, "its checksum is wrong")

"""Write training states, whole or not at all, on all ranks together, and remove old ones."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from recipes.states.folder import FORMAT, StateError, newest_state, states_in, step_of, sync_folder, write_manifest
from recipes.states.ranks import Ranks

FILE_BYTES = 1 << 30
"""A file is closed at this size, which bounds the extra memory that writing takes."""
FULL = (errno.ENOSPC, errno.EDQUOT)


def write_state(
    folder: Path, manifest: Mapping[str, Any], tensors: Iterable[tuple[str, Tensor, int]], ranks: Ranks
) -> Path:
    """Write the state after `manifest["step"]` steps; afterwards it is complete, or nothing of it is left.

    All ranks must call it together.

    Args:
        folder: folder of the run's states.
        manifest: the run's position, as plain values.
        tensors: those of this rank: name, rows, index of the first row. They are copied from their device one by one.
        ranks: the ranks of the training.

    Returns:
        The state's folder.

    Raises:
        StateError: on all ranks, if any of them could not write.
    """
    target = folder / f"step-{manifest['step']:08d}"
    partial = folder / f".{target.name}.partial"
    if ranks.rank == 0:
        _together(ranks, lambda: _emptied(partial), target)
    else:
        _together(ranks, lambda: None, target)
    written = _together(ranks, lambda: _write_files(partial, tensors, ranks.rank), target, partial)
    described = {"format": FORMAT, **manifest, "files": {}, "tensors": {}}
    for files, pieces in written:
        described["files"] |= files
        for name, piece in pieces.items():
            described["tensors"].setdefault(name, []).append(piece)

    def complete() -> None:
        if ranks.rank == 0:
            write_manifest(partial, described)
            if target.exists():  # from an abandoned history: an earlier state was resumed
                discard(target)
            os.replace(partial, target)
            sync_folder(folder)

    _together(ranks, complete, target, partial)
    return target


def keep_newest(folder: Path, number: int, step: int) -> None:
    """Remove all complete states except the newest `number` up to `step`, and incomplete ones left by killed runs.

    Later states belong to a history that was abandoned when an earlier state was resumed; they would be mistaken for
    the newest.
    """
    found = states_in(folder)
    kept = [state for state in found if step_of(state) <= step][-number:]
    for state in found:
        if state not in kept:
            discard(state)
    for left in folder.glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)


def abandon_later(folder: Path, step: int) -> None:
    """Hide the states after `step`, from which training goes on: until the next state is written, one of them would
    otherwise be the newest. Then they are removed.
    """
    for state in states_in(folder):
        if step_of(state) > step:
            hidden = state.with_name(f".{state.name}.abandoned")
            shutil.rmtree(hidden, ignore_errors=True)
            os.replace(state, hidden)


def discard(state: Path) -> None:
    """Remove a state so that, if killed half-way, nothing that looks complete is left."""
    hidden = state.with_name(f".{state.name}.discarded")
    shutil.rmtree(hidden, ignore_errors=True)
    os.replace(state, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _together(ranks: Ranks, action: Any, target: Path, partial: Path | None = None) -> list[Any]:
    """Run `action` and return every rank's result; if one fails, all raise, and the incomplete folder is removed."""
    result, failure = None, None
    try:
        result = action()
    except OSError as error:
        failure = _explained(error, target)
    gathered = ranks.gathered((result, failure))
    failures = [each for _, each in gathered if each is not None]
    if failures:
        if ranks.rank == 0 and partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        newest = newest_state(target.parent)
        raise StateError(f"{failures[0]}; " + (f"the newest state is {newest}" if newest else "there is no state yet"))
    return [each for each, _ in gathered]


def is_disk_full(error: BaseException) -> bool:
    """Whether something could not be written because the disk is full or a quota is reached."""
    if isinstance(error, SafetensorError):  # it has the number only in its text
        return any(f"os error {number})" in str(error) for number in FULL)
    return isinstance(error, OSError) and error.errno in FULL


def _explained(error: OSError, target: Path) -> str:
    if is_disk_full(error):
        return f"disk full: {target}"
    return f"the training state {target} cannot be written ({error})"


def _emptied(partial: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)


def _write_files(
    partial: Path, tensors: Iterable[tuple[str, Tensor, int]], rank: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write this rank's files; return their sizes and checksums, and the location of every tensor's piece."""
    files: dict[str, Any] = {}
    pieces: dict[str, Any] = {}
    held: dict[str, Tensor] = {}
    size = 0

    def close() -> None:
        nonlocal held, size
        name = f"rank-{rank:05d}-{len(files):03d}.safetensors"
        content = save(held)
        with (partial / name).open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        held, size = {}, 0

    for name, rows, first in tensors:
        held[name] = rows.to("cpu", copy=True).contiguous()
        size += held[name].nbytes
        pieces[name] = {
            "file": f"rank-{rank:05d}-{len(files):03d}.safetensors",
            "first": first,
            "rows": rows.shape[0] if rows.ndim else 1,
        }
        if size >= FILE_BYTES:
            close()
    if held:
        close()
    return files, pieces

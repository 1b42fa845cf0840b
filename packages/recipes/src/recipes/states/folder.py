"""A training state on disk: a folder of safetensors with a page that says what is in them, there as a whole or not.

step-00000120/
  state.json                     where the run was, every tensor's place, every file's checksum; written last
  rank-00000-000.safetensors     what the first rank held; more files where it is more than `FILE_BYTES`
  rank-00001-000.safetensors

A state is written into a hidden folder, which gets its name when everything is on disk: what has a name is complete.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from recipes.states.ranks import Ranks

FORMAT = 1
MANIFEST = "state.json"
FILE_BYTES = 1 << 30
"""A file is closed when it has this many: so much is held in memory beside the state itself."""
FULL = (errno.ENOSPC, errno.EDQUOT)
NAME = re.compile(r"step-(\d{8,})")


class StateError(ValueError):
    """A training state cannot be written, read or used; the message says which one and what to do."""


def step_of(state: Path) -> int:
    """Optimizer steps of the state in that folder; -1: its name is no state's."""
    matched = NAME.fullmatch(state.name)
    return int(matched[1]) if matched else -1


def states_in(folder: Path) -> list[Path]:
    """The complete states in a folder, the newest last."""
    found = [path for path in folder.glob("step-*") if step_of(path) >= 0 and (path / MANIFEST).is_file()]
    return sorted(found, key=step_of)


def newest_state(folder: Path) -> Path | None:
    """The newest complete state in a folder; None: there is none."""
    found = states_in(folder)
    return found[-1] if found else None


def find_state(path: str | Path) -> Path:
    """The state that a path means: the folder of one, or the newest one of a run or of a folder of states.

    Raises:
        StateError: if there is none.
    """
    given = Path(path)
    if (given / MANIFEST).is_file():
        return given
    if given.is_file():
        raise StateError(
            f"{given} is no training state: a state is a folder such as runs/uhd/version_0/states/step-00000120; "
            "pickled files are not read"
        )
    newest = newest_state(given / "states") or newest_state(given)
    if newest is None:
        reason = "is an incomplete state" if step_of(given) >= 0 and given.is_dir() else "holds no training state"
        what = f"{given} {reason}" if given.exists() else f"there is no training state {given}"
        beside = newest_state(given.parent) if step_of(given) >= 0 else None
        raise StateError(f"{what}; the newest complete one is {beside}" if beside else what)
    return newest


def write_state(
    folder: Path, manifest: Mapping[str, Any], tensors: Iterable[tuple[str, Tensor, int]], ranks: Ranks
) -> Path:
    """Write the state of `manifest["step"]` steps; afterwards it is complete, or nothing of it is left.

    All ranks call it together.

    Args:
        folder: of the run's states.
        manifest: where the run is, in plain values.
        tensors: this rank's: name, rows, number of the first row. They are copied from their device one by one.
        ranks: all of them.

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
            _write_manifest(partial, described)
            if target.exists():  # of a history that was left: an earlier state was resumed
                discard(target)
            os.replace(partial, target)
            _sync_folder(folder)

    _together(ranks, complete, target, partial)
    return target


def rewrite_manifest(state: Path, changes: Mapping[str, Any]) -> None:
    """Change entries of a complete state's page, in one step."""
    described = json.loads((state / MANIFEST).read_text(encoding="utf-8"))
    _write_manifest(state, described | dict(changes))


def keep_newest(folder: Path, number: int, step: int) -> None:
    """Remove all complete states but the newest `number` up to `step`, and what killed runs have left half written.

    Later ones are of a history that was left when an earlier state was resumed: they would pass for the newest.
    """
    found = states_in(folder)
    kept = [state for state in found if step_of(state) <= step][-number:]
    for state in found:
        if state not in kept:
            discard(state)
    for left in folder.glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)


def discard(state: Path) -> None:
    """Remove a state; killed half-way it leaves nothing that looks complete."""
    hidden = state.with_name(f".{state.name}.discarded")
    shutil.rmtree(hidden, ignore_errors=True)
    os.replace(state, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _together(ranks: Ranks, action: Any, target: Path, partial: Path | None = None) -> list[Any]:
    """Every rank's result of its `action`; if one fails, all of them raise and the half-written folder is removed."""
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
    """Whether something could not be written because there is no room, or no more is allowed."""
    if isinstance(error, SafetensorError):  # which has the number only in its text
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
    """The files with their sizes and checksums, and for every tensor its piece's place."""
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


def _write_manifest(state: Path, described: Mapping[str, Any]) -> None:
    new = state / f"{MANIFEST}.new"
    try:
        with new.open("w", encoding="utf-8") as stream:
            json.dump({**described, "checksum": _checksum(described)}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(new, state / MANIFEST)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    _sync_folder(state)


def _checksum(described: Mapping[str, Any]) -> str:
    entries = {key: value for key, value in described.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def read_manifest(state: Path) -> dict[str, Any]:
    """A state's page.

    Raises:
        StateError: if it is damaged, or of another format.
    """
    path = state / MANIFEST
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version, checksum, files = described["format"], described["checksum"], described["files"]
        outside = [name for name in files if Path(name).name != name]
    except OSError as error:
        raise StateError(damaged(path, str(error.strerror))) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateError(damaged(path, "it is no page of a training state")) from error
    if version != FORMAT:
        raise StateError(f"{path} has format {version}, this version reads format {FORMAT}: resume with the other one")
    if checksum != _checksum(described):
        raise StateError(damaged(path, "its checksum is wrong"))
    if outside:
        raise StateError(damaged(path, f"it names the file {outside[0]!r}"))
    return described


def damaged(path: Path, reason: str) -> str:
    """A message about a file of a state, with an earlier state to take instead if there is one."""
    state = path.parent
    earlier = [each for each in states_in(state.parent) if step_of(each) < step_of(state)]
    advice = f"resume from an earlier one: --ckpt_path {earlier[-1]}" if earlier else "there is no earlier state"
    return f"{path} is damaged ({reason}); {advice}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

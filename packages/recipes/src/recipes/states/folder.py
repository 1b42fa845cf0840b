"""A training state on disk: a folder of safetensors with a manifest, complete or absent.

step-00000120/
  state.json                     the run's position, every tensor's location, every file's checksum; written last
  rank-00000-000.safetensors     the first rank's tensors; in several files if larger than `FILE_BYTES`
  rank-00001-000.safetensors

A state is written into a hidden folder, which is renamed when everything is on disk: a named state is complete.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipes.states.entries import wrong_entry

FORMAT = 1
MANIFEST = "state.json"
STATES = "states"
"""The folder of a run that holds its states."""
NAME = re.compile(r"step-(\d{8,})")


class StateError(ValueError):
    """A training state cannot be written, read or used; the message says which one, and what to do."""


def step_of(state: Path) -> int:
    """Optimizer steps of the state in a folder, from its name; -1 if it is not the name of a state."""
    matched = NAME.fullmatch(state.name)
    return int(matched[1]) if matched else -1


def states_in(folder: Path) -> list[Path]:
    """The complete states in a folder, newest last."""
    found = [path for path in folder.glob("step-*") if step_of(path) >= 0 and (path / MANIFEST).is_file()]
    return sorted(found, key=step_of)


def newest_state(folder: Path) -> Path | None:
    """The newest complete state in a folder; None if there is none."""
    found = states_in(folder)
    return found[-1] if found else None


def find_state(path: str | Path) -> Path:
    """Find the state that a path refers to: a state's folder, or the newest state of a run or folder of states.

    Raises:
        StateError: if there is none.
    """
    given = Path(path)
    if (given / MANIFEST).is_file():
        return given
    if given.is_file():
        raise StateError(
            f"{given} is not a training state: a state is a folder such as runs/uhd/version_0/states/step-00000120; "
            "pickled files are not read"
        )
    newest = newest_state(given / STATES) or newest_state(given)
    if newest is None:
        reason = "is an incomplete state" if step_of(given) >= 0 and given.is_dir() else "holds no training state"
        what = f"{given} {reason}" if given.exists() else f"there is no training state {given}"
        beside = newest_state(given.parent) if step_of(given) >= 0 else None
        raise StateError(f"{what}; the newest complete one is {beside}" if beside else what)
    return newest


def rewrite_manifest(state: Path, changes: Mapping[str, Any]) -> None:
    """Change entries in a complete state's manifest atomically."""
    described = json.loads((state / MANIFEST).read_text(encoding="utf-8"))
    write_manifest(state, described | dict(changes))


def write_manifest(state: Path, described: Mapping[str, Any]) -> None:
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
    sync_folder(state)


def _checksum(described: Mapping[str, Any]) -> str:
    entries = {key: value for key, value in described.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def read_manifest(state: Path) -> dict[str, Any]:
    """Read a state's manifest.

    Raises:
        StateError: if it is damaged, or of another format.
    """
    path = state / MANIFEST
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version, checksum, files = described["format"], described["checksum"], described["files"]
        outside = [name for name in files if Path(name).name != name]
        correct = _checksum(described)
    except OSError as error:
        raise StateError(damaged(path, str(error.strerror))) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateError(damaged(path, "it is not the manifest of a training state")) from error
    if version != FORMAT:
        raise StateError(
            f"{path} has format {version!s:.20}, this version reads format {FORMAT}: resume with the version that "
            "wrote it"
        )
    if checksum != correct:
        raise StateError(damaged(path, "its checksum is wrong"))
    if outside:
        raise StateError(damaged(path, f"it names the file {outside[0]!r:.100}"))
    if wrong := wrong_entry(described):
        raise StateError(damaged(path, f"{wrong:.100} is not what a training writes"))
    return described


def damaged(path: Path, reason: str) -> str:
    """A message about a damaged file of a state, with an earlier state to use instead if there is one."""
    state = path.parent
    earlier = [each for each in states_in(state.parent) if step_of(each) < step_of(state)]
    advice = f"resume from an earlier one: --ckpt_path {earlier[-1]}" if earlier else "there is no earlier state"
    return f"{path} is damaged ({reason}); {advice}"


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

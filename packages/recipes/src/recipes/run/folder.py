"""The run's folder, which holds its configuration, curves, states, checkpoint and pictures."""

from pathlib import Path

from recipes.states.folder import MANIFEST, STATES

RUNS = "runs"
VERSION = "version_"
CONFIG = "config.yaml"
"""The whole configuration of a run, in its folder."""


def new_run_folder(root: str | Path, name: str) -> Path:
    """Create and return ROOT/NAME/version_N with the next free number; runs that start together get different ones."""
    parent = Path(root) / name
    parent.mkdir(parents=True, exist_ok=True)
    number = max(versions(parent), default=-1) + 1
    while True:
        folder = parent / f"{VERSION}{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def latest_run_folder(root: str | Path, name: str) -> Path | None:
    """The run of that name with the highest number; None if there is none."""
    parent = Path(root) / name
    found = versions(parent)
    return parent / f"{VERSION}{max(found)}" if found else None


def versions(parent: Path) -> list[int]:
    """Numbers of the runs in a folder."""
    if not parent.is_dir():
        return []
    ends = (path.name.removeprefix(VERSION) for path in parent.iterdir() if path.name.startswith(VERSION))
    return [int(end) for end in ends if end.isdigit()]


def run_of(state: Path) -> Path | None:
    """The folder of the run that wrote a state; None if the state is not in one, such as a copy elsewhere."""
    resolved = state.resolve()
    assert (resolved / MANIFEST).is_file()
    run = resolved.parent.parent
    return run if resolved.parent.name == STATES and (run / CONFIG).is_file() else None

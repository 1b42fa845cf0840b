"""The checkpoint that a user has named: a folder, a hub name, or a run, which holds one."""

import re
from pathlib import Path

from foveal.limited_yaml import read_yaml
from recipes.command_line.configurations import UsageError

WRITTEN = ("checkpoint", "adapter")
"""Folders of a run that hold its trained model; with LoRA, its adapters."""
EXAMPLE = "llava-hf/llava-1.5-7b-hf"
"""A hub name, for help texts."""
READER = "reader"
"""Names the checkpoint of foveal-reader, where it is installed and there is no folder of this name."""
RUN, STATE = re.compile(r"version_(\d+)"), re.compile(r"(?:checkpoint-)?step-(\d+)")


def checkpoint_in(given: Path) -> Path:
    """The trained model's folder if `given` is the folder of a run, or `READER`; anything else as it is.

    Args:
        given: folder or hub name.

    Raises:
        UsageError: if it is a run without a trained model, or a folder of runs; the message says what is there.
    """
    if str(given) == READER and not given.exists() and (packaged := packaged_reader()) is not None:
        return packaged
    if not _is_run(given):
        if (runs := _numbered(given, RUN)) and not list(given.glob("config.*")):
            raise UsageError(f"{given} holds {len(runs)} runs: give one of them, the latest is {runs[-1]}")
        return given
    found = [given / name for name in WRITTEN if (given / name).is_dir()]
    if not found:
        raise UsageError(_nothing_in(given))
    return found[0]


def packaged_reader() -> Path | None:
    """The checkpoint of foveal-reader; None if it is not installed."""
    try:
        from foveal.reader import path
    except ImportError:
        return None
    return path() if path().is_dir() else None


def _is_run(folder: Path) -> bool:
    """Whether `config.yaml` is the configuration of a run; in a checkpoint, it describes the parts."""
    try:
        content = read_yaml(folder / "config.yaml")
    except (ValueError, OSError):
        return False
    return isinstance(content, dict) and {"model", "trainer"} <= content.keys()


def _nothing_in(run: Path) -> str:
    """What a run without a trained model holds, and what to do."""
    if written := _numbered(run, STATE):
        return f"the run {run} has no checkpoint, but the model of a training state: give {written[-1]}"
    if states := _numbered(run / "states", STATE):
        return (
            f"the run {run} has no checkpoint yet, only training states, the newest {states[-1]}: let the run end, or "
            f"write the model of that state with python -m recipes.merge_shards {states[-1]} OUT, and give OUT"
        )
    return f"the run {run} has neither a checkpoint nor a training state: start it again, or give another run"


def _numbered(folder: Path, name: re.Pattern[str]) -> list[Path]:
    """The folders whose names have this form, by their numbers."""
    if not folder.is_dir():
        return []
    folders = [each for each in folder.iterdir() if each.is_dir()]
    numbers = {each: int(found[1]) for each in folders if (found := name.fullmatch(each.name))}
    return sorted(numbers, key=lambda each: numbers[each])

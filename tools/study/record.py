"""The finished runs of a study in one small file, docs/study.json, so that a study goes on where nothing else is left.

A run counts as long as the configurations of its arm are those of today.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from foveal.core import whole_file
from recipes.command_line.configurations import merged
from tools.study.arms import ARMS, Arm, Stage

RECORD = "study.json"
Run = tuple[int, str]
"""A seed, and the name of an arm."""


@dataclass(frozen=True)
class Score:
    """A validation.

    Attributes:
        step: number of steps before it.
        anls: 0 to 1.
        exact: share of answers without any error.
    """

    step: int
    anls: float
    exact: float


@dataclass(frozen=True)
class Cost:
    """What an arm takes to answer a question, as means over the sizes of pages.

    Attributes:
        visual: visual tokens in the prompt.
        stacked: visual tokens that are added in layers.
        mflop: operations of a prefill, in millions.
        parameters: of the whole model, in thousands.
        connector: those of the connector.
    """

    visual: float
    stacked: float
    mflop: float
    parameters: float
    connector: float


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        cost: of an answer.
        scores: the validations, the last one at the end.
    """

    cost: Cost
    scores: list[Score]


@cache
def digest(arm: Arm) -> str:
    """Digest of the configurations of an arm."""
    return _digest([merged(str(stage.configuration)) for stage in arm.stages])


def stage_digest(stage: Stage) -> str:
    """Digest of the configuration of a stage, as it is now."""
    return _digest(merged(str(stage.configuration)))


def _digest(found: Any) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Record:
    """What is in a record.

    Attributes:
        steps: optimizer steps of every arm.
        runs: those that count, by seed and arm.
        outdated: arms whose runs do not count, since they had other configurations than today.
    """

    steps: int
    runs: dict[Run, Finished]
    outdated: tuple[str, ...] = ()


def read_record(path: Path) -> Record | None:
    """The runs in a record; None: there is no such file.

    Args:
        path: its file.

    Raises:
        ValueError: if it is no record.
    """
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        arms = {
            name: (arm["configurations"], {int(seed): _finished(arm, scores) for seed, scores in arm["seeds"].items()})
            for name, arm in found["arms"].items()
        }
        steps = int(found["steps"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no record of a study ({error}): mend or remove it, or use another --docs") from error
    today = {name: digest(arm) for name, arm in ARMS.items()}
    counts = [name for name, (configurations, _) in arms.items() if today.get(name) == configurations]
    runs = {(seed, name): run for name in counts for seed, run in arms[name][1].items()}
    return Record(steps, runs, tuple(name for name in arms if name not in counts))


def _finished(arm: dict[str, Any], scores: list[dict[str, Any]]) -> Finished:
    if not scores:
        raise ValueError("a run without scores")
    return Finished(Cost(**arm["cost"]), [Score(**each) for each in scores])


def write_record(path: Path, steps: int, runs: Mapping[Run, Finished]) -> None:
    """Write a record.

    Args:
        path: its file.
        steps: optimizer steps of every arm.
        runs: its runs, by seed and arm; an arm has one cost.
    """
    arms: dict[str, dict[str, Any]] = {}
    for (seed, name), run in sorted(runs.items(), key=lambda item: (list(ARMS).index(item[0][1]), item[0])):
        empty = {"configurations": digest(ARMS[name]), "cost": asdict(run.cost), "seeds": {}}
        arms.setdefault(name, empty)["seeds"][str(seed)] = [asdict(score) for score in run.scores]
    with whole_file(path) as file:
        file.write_text(json.dumps({"steps": steps, "arms": arms}, indent=1) + "\n", encoding="utf-8")

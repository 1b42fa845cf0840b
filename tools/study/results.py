"""The folder of a study, and the scores in it.

OUTPUT/study.json             the number of steps
OUTPUT/seed-0/deco/           a run of `recipes.fit`
OUTPUT/seed-0/deco.log        what it printed
OUTPUT/seed-0/deco.json       its scores; exists once the arm is finished
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from foveal.core import whole_file
from recipes.run.rows import METRICS, read_rows

MANIFEST = "study.json"


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
class Study:
    """The folder of a study.

    Attributes:
        output: the folder.
        steps: optimizer steps of every arm.
    """

    output: Path
    steps: int

    def folder(self, seed: int) -> Path:
        """The folder of a seed, in which the trainings run."""
        return self.output / f"seed-{seed}"

    def scores(self, seed: int, arm: str) -> list[Score] | None:
        """The validations of a finished arm, the last one at the end; None: it is not finished."""
        path = self.folder(seed) / f"{arm}.json"
        if not path.is_file():
            return None
        return [Score(**each) for each in json.loads(path.read_text(encoding="utf-8"))]

    def finish(self, seed: int, arm: str, run: Path, steps: int) -> list[Score]:
        """Record the validations of a run that has ended after `steps` steps, and return them.

        Raises:
            ValueError: if the run has no validation after its last step.
        """
        rows = [row for row in read_rows(run / METRICS)[1] if row.get("val/anls")]
        found = [Score(int(row["step"]) + 1, float(row["val/anls"]), float(row["val/exact"])) for row in rows]
        if not found or found[-1].step != steps:
            raise ValueError(f"{run} has no validation after step {steps}: remove it, and the study trains it anew")
        _replace(self.folder(seed) / f"{arm}.json", [asdict(each) for each in found])
        return found


def open_study(output: Path, steps: int | None, *, default: int | None) -> Study:
    """The study of a folder, which is created if needed.

    Args:
        output: its folder.
        steps: optimizer steps of every arm; None: those of the folder.
        default: steps of a new study, if none are given; None: there must be a study.

    Raises:
        ValueError: if the folder has no study, or one with other steps.
    """
    manifest = output / MANIFEST
    if manifest.is_file():
        before = int(json.loads(manifest.read_text(encoding="utf-8"))["steps"])
        if steps not in (None, before):
            raise ValueError(f"{output} has arms of {before} steps: use another --output for {steps} steps")
        return Study(output, before)
    if default is None:
        raise ValueError(f"{output} has no study yet: leave --report out to train one")
    steps = steps or default
    output.mkdir(parents=True, exist_ok=True)
    _replace(manifest, {"steps": steps})
    return Study(output, steps)


def _replace(path: Path, content: object) -> None:
    """Write JSON so that the file is complete or absent."""
    with whole_file(path) as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

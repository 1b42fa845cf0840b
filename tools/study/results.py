"""The folder of a study, and the scores in it.

OUTPUT/study.json             the number of steps
OUTPUT/seed-0/deco/           a run of `recipes.fit`
OUTPUT/seed-0/deco.log        what it printed
OUTPUT/seed-0/deco.digest     a digest of the configuration with which it began
OUTPUT/seed-0/deco.json       its scores and a digest of its configurations; exists once the arm is finished
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from foveal.core import whole_file
from recipes.run.rows import METRICS, read_rows
from tools.study.arms import ARMS, Stage
from tools.study.record import Finished, Run, Score, digest, stage_digest

MANIFEST = "study.json"


@dataclass(frozen=True)
class Study:
    """The folder of a study.

    Attributes:
        output: the folder.
        steps: optimizer steps of every arm.
        recorded: runs that finished elsewhere, by seed and arm.
    """

    output: Path
    steps: int
    recorded: Mapping[Run, Finished] = field(default_factory=dict)

    def folder(self, seed: int) -> Path:
        """The folder of a seed, in which the trainings run."""
        return self.output / f"seed-{seed}"

    def scores(self, seed: int, arm: str) -> list[Score] | None:
        """The validations of a finished arm, the last one at the end; None: it is not finished.

        Raises:
            ValueError: if it was trained with other configurations than today's.
        """
        path = self.folder(seed) / f"{arm}.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["configurations"] != digest(ARMS[arm]):
                raise ValueError(
                    f"{path}: trained with other configurations than today's; use another --output, or remove it "
                    "and its runs to train them anew"
                )
            return [Score(**each) for each in found["scores"]]
        elsewhere = self.recorded.get((seed, arm))
        return None if elsewhere is None else elsewhere.scores

    def begin(self, seed: int, stage: Stage) -> None:
        """Note the configuration with which a stage begins, or check that one which has begun had that of today.

        Raises:
            ValueError: if it had another one.
        """
        folder, today = self.folder(seed), stage_digest(stage)
        path = folder / f"{stage.name}.digest"
        if (folder / stage.name).exists() and (not path.is_file() or path.read_text(encoding="utf-8") != today):
            raise ValueError(
                f"{folder / stage.name} began with another configuration than today's: use another --output, or remove "
                "it to train it anew"
            )
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(today, encoding="utf-8")

    def finish(self, seed: int, arm: str, run: Path, steps: int) -> list[Score]:
        """Record the validations of a run that has ended after `steps` steps, and return them.

        Raises:
            ValueError: if the run has no validation after its last step, or a configuration has changed meanwhile.
        """
        for stage in ARMS[arm].stages:
            self.begin(seed, stage)
        found = validations(run)
        if not found or found[-1].step != steps:
            raise ValueError(f"{run} has no validation after step {steps}: remove it, and the study trains it anew")
        content = {"configurations": digest(ARMS[arm]), "scores": [asdict(each) for each in found]}
        _replace(self.folder(seed) / f"{arm}.json", content)
        return found


def validations(run: Path) -> list[Score]:
    """The validations of a run."""
    rows = [row for row in read_rows(run / METRICS)[1] if row.get("val/anls")]
    return [Score(int(row["step"]) + 1, float(row["val/anls"]), float(row["val/exact"])) for row in rows]


def steps_of(output: Path, given: int | None) -> int | None:
    """The steps of a folder's study; those that are given if it has none.

    Args:
        output: the folder.
        given: optimizer steps of every arm; None: those of the folder.

    Raises:
        ValueError: if the folder has a study with other steps.
    """
    manifest = output / MANIFEST
    if not manifest.is_file():
        return given
    before = int(json.loads(manifest.read_text(encoding="utf-8"))["steps"])
    if given not in (None, before):
        raise ValueError(f"{output} has arms of {before} steps: use another --output for {given} steps")
    return before


def create(output: Path, steps: int) -> None:
    """Create the folder of a study, which may be there already."""
    output.mkdir(parents=True, exist_ok=True)
    _replace(output / MANIFEST, {"steps": steps})


def _replace(path: Path, content: object) -> None:
    """Write JSON so that the file is complete or absent."""
    with whole_file(path) as file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

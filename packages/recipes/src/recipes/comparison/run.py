"""What the folder of a run holds."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from recipes.comparison.acuity import RESULTS, Acuity, read_acuity
from recipes.comparison.curves import Curve, read_curves
from recipes.comparison.evaluations import SCORES, Evaluation, read_evaluation
from recipes.comparison.settings import Settings, read_settings
from recipes.run.rows import METRICS

CONFIG = "config.yaml"
"""Not imported from what writes it: torch would be imported, too."""
PREDICTIONS, CHART = "predictions.png", "acuity.png"
SKIPPED = ("states", "checkpoint", "adapter", "base", "wandb", "tensorboard")
"""Folders of a run that hold no results."""


@dataclass(frozen=True)
class ComparedRun:
    """A run.

    Attributes:
        name: as it was given.
        folder: its folder.
        curves: by column; empty without a log.
        settings: its configuration; None if it is not there.
        evaluations: files of scores in the folder.
        acuity: eye tests in the folder.
        pictures: figures in the folder, by their names in it.
    """

    name: str
    folder: Path
    curves: dict[str, Curve] = field(default_factory=dict)
    settings: Settings | None = None
    evaluations: tuple[Evaluation, ...] = ()
    acuity: tuple[Acuity, ...] = ()
    pictures: dict[str, Path] = field(default_factory=dict)

    @property
    def only_settings(self) -> bool:
        """Whether it is a run that has not logged anything yet."""
        return self.settings is not None and not (self.curves or self.evaluations or self.acuity)

    @property
    def only_scores(self) -> bool:
        """Whether it is no run but what `evaluate` has left."""
        return bool(self.evaluations) and not (self.curves or self.acuity or self.settings)


def read_runs(paths: Sequence[Path]) -> list[ComparedRun]:
    """Read runs in the order in which they are given.

    Args:
        paths: folders of runs, CSV files, or folders that hold only results of `evaluate` or `acuity`. Scores of a
            checkpoint inside of one of the runs are that run's.

    Raises:
        ValueError: if one of them holds nothing that can be compared, or a file is damaged.
        OSError: if a file cannot be read.
    """
    read = [read_run(path) for path in paths]
    runs = [each for each in read if not each.only_scores]
    for each in read:
        if each.only_scores:
            owners = {_owner(found, runs) for found in each.evaluations}
            owner = owners.pop() if len(owners) == 1 else None
            if owner is None:
                runs.append(each)
            else:
                runs[owner] = replace(runs[owner], evaluations=(*runs[owner].evaluations, *each.evaluations))
    return runs


def read_run(path: Path) -> ComparedRun:
    """Read what is there of a run.

    Args:
        path: folder, or CSV file.

    Raises:
        ValueError: if there is nothing that can be compared, or a file is damaged.
        OSError: if a file cannot be read.
    """
    if path.is_file():
        return ComparedRun(str(path), path.parent, curves=read_curves(path))
    if not path.is_dir():
        raise ValueError(f"there is no run {path}")
    files = sorted(_files(path))
    run = ComparedRun(
        str(path),
        path,
        curves=read_curves(path / METRICS) if (path / METRICS).is_file() else {},
        settings=read_settings(path / CONFIG) if (path / CONFIG).is_file() else None,
        evaluations=tuple(read_evaluation(file) for file in files if file.name == SCORES),
        acuity=tuple(each for file in files if file.name == RESULTS for each in read_acuity(file)),
        pictures={str(each.relative_to(path)): each for each in _pictures(path, files)},
    )
    if not (run.curves or run.evaluations or run.acuity or _begun(run)):
        inside = sorted(file.parent for file in path.glob(f"*/{METRICS}"))
        raise ValueError(
            f"{path} holds runs: name them, such as {inside[-1]}"
            if inside
            else f"{path} holds no {METRICS}, {SCORES} or {RESULTS}: give the folder of a run, or a CSV file"
        )
    return run


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in SKIPPED]
        yield from (Path(place) / name for name in names if name in (SCORES, RESULTS))


def _begun(run: ComparedRun) -> bool:
    """Whether it has a run's configuration; a checkpoint has one, too, but of another kind."""
    return any(name.startswith("trainer.") for name in run.settings or ())


def _pictures(folder: Path, results: Sequence[Path]) -> Iterator[Path]:
    """The sheet of predictions, and the chart of every eye test."""
    charts = (file.with_name(CHART) for file in results if file.name == RESULTS)
    yield from (each for each in (folder / PREDICTIONS, *charts) if each.is_file())


def _owner(evaluation: Evaluation, runs: Sequence[ComparedRun]) -> int | None:
    """The number of the run whose checkpoint was evaluated."""
    try:
        checkpoint = Path(evaluation.checkpoint).resolve()
    except ValueError:  # characters that no path has, so it is the checkpoint of no run
        return None
    found = (
        number for number, run in enumerate(runs) if run.curves and checkpoint.is_relative_to(run.folder.resolve())
    )
    return next(found, None) if evaluation.checkpoint else None

"""The curves of a run, read from any logger's CSV."""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.run.rows import read_rows

NOT_CURVES = ("step", "epoch", "")
STARTS = {
    "train": "Training",
    "val": "Validation",
    "blank": "Controls: blank pictures",
    "lr": "Learning rates",
    "speed": "Speed",
}
"""Beginning of a column's name -> the heading that it stands under."""
OTHERS = "Other curves"
ASIDE = ("Learning rates", "Speed")
"""Headings of what is looked up, not compared."""
LARGEST = 1e100
"""Far beyond what models compute with; means of larger values would be infinite."""
POINTS = 400
"""Most points that are drawn of a curve."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """The values of one column.

    Attributes:
        points: (step, value) of every row that has a value that can be drawn.
        left_out: number of values that are infinite, not a number, or beyond `LARGEST`.
    """

    points: tuple[Point, ...]
    left_out: int = 0


def read_curves(path: Path) -> dict[str, Curve]:
    """The columns of a CSV with a column `step`, by their names.

    Args:
        path: as `MetricsCsv` or Lightning's CSVLogger writes it. An incomplete last line is left out.

    Raises:
        ValueError: with file, row and column, if it is not such a table.
        OSError: if it cannot be read.
    """
    try:
        columns, rows = read_rows(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error})") from error
    except csv.Error as error:
        raise ValueError(f"{path}: not CSV ({error})") from error
    if "step" not in columns:
        raise ValueError(f"{path} has no column step, so it is not the table of a run")
    found: dict[str, list[Point]] = {name: [] for name in columns if name not in NOT_CURVES}
    for number, row in enumerate(rows, start=2):
        step = _number(row["step"], path, number, "step")
        if not _drawn(step):
            raise ValueError(f"{path}, line {number}, column step: {step} cannot be the number of a step")
        for name, points in found.items():
            if text := row.get(name):
                points.append((step, _number(text, path, number, name)))
    curves = {}
    for name, points in found.items():
        finite = tuple(point for point in points if _drawn(point[1]))
        if points:
            curves[name] = Curve(finite, len(points) - len(finite))
    return curves


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most `POINTS` points: means of as many neighbours, in steps and values."""
    each = -(-len(points) // POINTS)
    parts = [points[start : start + each] for start in range(0, len(points), max(each, 1))]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def grouped(names: Sequence[str]) -> Mapping[str, list[str]]:
    """Names of columns by the heading that they stand under; validation and its controls are apart."""
    groups: dict[str, list[str]] = {name: [] for name in (*STARTS.values(), OTHERS)}
    for name in names:
        # Lightning's own examples write train_loss and val_loss; its LearningRateMonitor lr-NAME.
        start = re.split("[/_-]", name, maxsplit=1)[0]
        groups[STARTS.get(start, OTHERS)].append(name)
    return {name: found for name, found in groups.items() if found}


def _drawn(value: float) -> bool:
    return math.isfinite(value) and abs(value) <= LARGEST


def _number(text: str | None, path: Path, row: int, column: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"{path}, line {row}, column {column}: a number is expected, not {text!r:.60}") from None

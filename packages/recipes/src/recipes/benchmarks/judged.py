"""Scores that a judge has given to the answers of a benchmark."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from recipes.benchmarks.item import Item
from recipes.reading.json_value import read_value


def judged_scores(path: Path, items: Sequence[Item], by: str = "capability") -> dict[str, float]:
    """Mean scores of a judge, 0 to 100, as MM-Vet reports them.

    Args:
        path: JSON `{id: score}`, each of 0 to 1, or a list of them for a judge that was asked several times.
        items: all questions; one that was not judged is an error.
        by: value with the classes of a question, a list, or a text with commas between; it counts in each of them.

    Returns:
        `total`, then the mean of every class.

    Raises:
        ValueError: naming the question, if a score is missing, for no question, or not of 0 to 1.
        OSError: if the file cannot be read.
    """
    given = read_value(path)
    if not isinstance(given, dict):
        raise ValueError(f"{path}: a dictionary of scores by id is expected, not a {type(given).__name__}")
    keys = {item.key for item in items}
    if lacking := [item.key for item in items if item.key not in given]:
        raise ValueError(f"{path}: {len(lacking)} of {len(items)} questions have no score, such as {lacking[0]!r:.60}")
    if unknown := next((key for key in given if key not in keys), None):
        raise ValueError(f"{path}: {unknown!r:.60} is no question of this benchmark")
    classes: dict[str, list[float]] = {}
    scores = [_mean(given[item.key], f"{path}, {item.key!r:.60}") for item in items]
    for item, score in zip(items, scores, strict=True):
        named = item.values.get(by, [])
        for each in named.split(",") if isinstance(named, str) else named:
            classes.setdefault(each.strip(), []).append(score)
    return {"total": fmean(scores), **{name: fmean(classes[name]) for name in sorted(classes)}}


def _mean(given: Any, where: str) -> float:
    several = given if isinstance(given, list) else [given]
    if not several or not all(type(each) in (int, float) and 0 <= each <= 1 for each in several):
        raise ValueError(f"{where}: a score of 0 to 1 is expected, or a list of them, not {given!r:.60}")
    return 100 * fmean(several)

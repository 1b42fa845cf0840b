"""The file of scores, with everything that can change them."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torchmetrics import Metric

from foveal.core import whole_file
from recipes.evaluation.asked import questions_hash
from recipes.evaluation.results import Results
from recipes.evaluation.scoring import Scores
from recipes.evaluation.settings import versions


def write_scores(path: Path, results: Results, scores: Scores) -> None:
    """Write scores as JSON; after an error, the old file is still there.

    Args:
        path: the file.
        results: the answers; the metric's class and options are written.
        scores: of the answers.

    Raises:
        ValueError: if another process is writing the file.
        OSError: if it cannot be written.
    """
    metric, settings = results.benchmark.metric, results.settings
    content: dict[str, Any] = {
        "benchmark": results.name,
        "split": results.benchmark.split,
        "items": len(scores.single),
        "questions_hash": questions_hash(results.questions.values()),
        "missing": scores.missing,
        "unparsed": scores.unparsed,
        "could_not_be_asked": results.left_out,
        "scores": scores.overall,
        "groups": scores.groups,
        "metric": {"class": f"{type(metric).__module__}.{type(metric).__qualname__}", "options": _options(metric)},
        "settings": None if settings is None else asdict(settings),
        "versions": versions(),
    }
    with whole_file(path) as file:
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _options(metric: Metric) -> Mapping[str, Any]:
    names = inspect.signature(type(metric)).parameters
    return {name: value for name in names if isinstance(value := getattr(metric, name, None), str | int | float | bool)}

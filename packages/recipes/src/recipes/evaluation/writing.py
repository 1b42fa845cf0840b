"""What an evaluation leaves: predictions, scores, a page, and what servers take."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from foveal.core import whole_file
from recipes.comparison.evaluations import SCORES
from recipes.evaluation.answer_files import write_llava_answers
from recipes.evaluation.page import Looked, show
from recipes.evaluation.results import Results
from recipes.evaluation.score_file import write_scores
from recipes.evaluation.scoring import Scores, why_not_scored


def write_results(results: Results, scores: Scores | None, looked: Looked, folder: Path) -> None:
    """Write predictions, scores, a page and the submission; print the scores.

    Args:
        results: the answers.
        scores: None: nothing is scored.
        looked: where the model looked for some answers.
        folder: where to write; it exists.

    Raises:
        ValueError: if another process is writing a file.
        OSError: if a file cannot be written.
        ImportError: naming the extra that the submission needs; all else is written.
    """
    benchmark, items = results.benchmark, results.items
    paths = {"predictions": folder / "predictions.jsonl", "in LLaVA's format": folder / "answers_llava.jsonl"}
    single = [None] * len(items) if scores is None else scores.single
    with whole_file(paths["predictions"]) as file:
        file.write_text("".join(_lines(results, single)), encoding="utf-8")
    model = "" if results.settings is None else results.settings.checkpoint
    write_llava_answers(paths["in LLaVA's format"], items, results.questions, results.answers, model=model)
    paths["page"] = folder / "report.html"
    show(results, scores, looked, paths["page"])
    if looked:
        paths["where it looked"] = folder / "explained.json"
        _write_looked(looked, paths["where it looked"])
    if scores is None:
        sys.stderr.write(f"{results.name}, {benchmark.split}: {why_not_scored(benchmark, items)}\n")
    else:
        paths["scores"] = folder / SCORES
        write_scores(paths["scores"], results, scores)
        _print(results, scores)
    # Last: it may need a library that is not there, and nothing else should be missing then.
    if benchmark.submission is not None:
        paths["for the server"] = folder / benchmark.submission.file
        benchmark.submission.write(items, [results.answers.get(item.key) for item in items], paths["for the server"])
    for name, path in paths.items():
        print(f"{name}: {path}")


def _write_looked(looked: Looked, path: Path) -> None:
    """The numbers of all explained answers, and the mean of each over those that have it."""
    numbers = {key: dict(each.numbers) for key, each in looked.items()}
    names = dict.fromkeys(name for each in numbers.values() for name in each)
    means = {name: fmean(each[name] for each in numbers.values() if name in each) for name in names}
    with whole_file(path) as file:
        file.write_text(json.dumps({"mean": means, "items": numbers}, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _lines(results: Results, single: Sequence[float | None]) -> Iterator[str]:
    for item, score in zip(results.items, single, strict=True):
        row: dict[str, Any] = {"id": item.key, "question": str(item.values.get("question", ""))}
        row["pictures"] = [picture.name for picture in item.pictures]
        if item.video is not None:
            row["video"] = item.video.name
        row |= {name: item.values[name] for name in results.benchmark.update.values() if name in item.values}
        row |= {"answer": results.answers.get(item.key), "score": score}
        yield json.dumps(row, ensure_ascii=False, default=str) + "\n"


def _print(results: Results, scores: Scores) -> None:
    number = len(results.items)
    print(f"{results.name}, {results.benchmark.split}: {number} question{'s' * (number > 1)}")
    table = Table("")
    for name in scores.overall:
        table.add_column(name, justify="right")
    table.add_row("all", *(f"{value:.4f}" for value in scores.overall.values()))
    for classes in scores.groups.values():
        for label, values in classes.items():
            # A label of the data is no markup, and nothing that a terminal obeys.
            shown = Text(label if label.isprintable() else repr(label))
            table.add_row(shown, *(f"{values[name]:.4f}" if name in values else "" for name in scores.overall))
    Console().print(table)
    if scores.missing or scores.unparsed:
        print(f"missing answers: {scores.missing}, not understood: {scores.unparsed}; both count as wrong")

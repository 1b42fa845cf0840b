"""Scores of `recipes.evaluate`, and whether two of them may stand beside each other."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.reading.json_value import read_object

SCORES = "scores.json"
MUST_AGREE = ("prompt_hash", "metric", "items", "questions_hash")
"""What makes scores incomparable if it differs."""
TOLD = ("preprocessing_hash", "template_hash", "temperature", "frames", "quantize", "dtype", "prompts")
"""Settings that are told if they differ."""


@dataclass(frozen=True)
class Evaluation:
    """A file of scores.

    Attributes:
        path: the file.
        benchmark: its name.
        split: of the benchmark's data.
        counts: items, missing and unparsed answers.
        scores: by name.
        conditions: values of `MUST_AGREE` and `TOLD`, as texts.
        checkpoint: the model, as it was named; empty if the answers were given.
    """

    path: Path
    benchmark: str
    split: str
    counts: Mapping[str, int]
    scores: Mapping[str, float]
    conditions: Mapping[str, str]
    checkpoint: str


def read_evaluation(path: Path) -> Evaluation:
    """Read a file of scores.

    Raises:
        ValueError: with file and key, if it is not such a file.
        OSError: if it cannot be read.
    """
    content = read_object(path)
    settings = content.get("settings") or {}
    try:
        return Evaluation(
            path,
            str(content["benchmark"]),
            str(content["split"]),
            {name: int(content[name]) for name in ("items", "missing", "unparsed")},
            {str(name): float(value) for name, value in content["scores"].items()},
            {name: _text(content.get(name, settings.get(name))) for name in (*MUST_AGREE, *TOLD)},
            str(settings.get("checkpoint", "")),
        )
    except KeyError as error:
        raise ValueError(f"{path} has no key {error}, so it is not a file of scores of recipes.evaluate") from error
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is not a file of scores of recipes.evaluate ({error})") from error


def differing(evaluations: Sequence[Evaluation], names: Sequence[str] = MUST_AGREE) -> dict[str, list[str]]:
    """The conditions that are not the same in all evaluations, with their values."""
    found = {name: [each.conditions[name] for each in evaluations] for name in names}
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def refuse_incomparable(evaluations: Sequence[Evaluation]) -> None:
    """Check that scores of one benchmark may stand beside each other.

    Args:
        evaluations: of one benchmark and split, at least one.

    Raises:
        ValueError: naming the first one that was measured in another way, and how.
    """
    first = evaluations[0]
    for other in evaluations[1:]:
        if found := differing([first, other]):
            name, (before, after) = next(iter(found.items()))
            names = f"{' and '.join(found)} {'differs' if len(found) == 1 else 'differ'}"
            raise ValueError(
                f"{first.benchmark}, {first.split}: these scores are not comparable, {names}:\n"
                f"{first.path}: {name} {before:.60}\n{other.path}: {name} {after:.60}\n"
                "compare other runs, or evaluate one again; --force shows them all the same"
            )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)

"""What was asked: an answer counts for this question only, and a score for these questions."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from recipes.benchmarks.benchmark import Benchmark
from recipes.benchmarks.item import Item
from recipes.evaluation.settings import hash_of


@dataclass(frozen=True)
class Asked:
    """One question as it is asked and scored.

    Attributes:
        prompt: its text.
        hash: of the prompt, the names of pictures and videos, and what it is scored with: files of another version may
            have the same ids.
    """

    prompt: str
    hash: str


def asked_question(benchmark: Benchmark, item: Item, prompt: str) -> Asked:
    """The question of an item.

    Args:
        benchmark: its values for the metric and for groups count.
        item: the item.
        prompt: the text of its prompt.
    """
    names: list[Any] = [picture.name for picture in item.pictures]
    if item.video is not None:
        names.append(list(item.video.names))
    held = [item.values.get(name) for name in (*benchmark.update.values(), *benchmark.groups)]
    return Asked(prompt, hash_of(json.dumps([prompt, names, held], default=repr)))


def questions_hash(asked: Iterable[Asked]) -> str:
    """A hash of all questions: scores of different ones are not comparable."""
    return hash_of([each.hash for each in asked])

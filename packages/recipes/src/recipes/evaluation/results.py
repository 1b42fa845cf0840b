"""A benchmark with a model's answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recipes.benchmarks.benchmark import Benchmark
from recipes.benchmarks.item import Item
from recipes.evaluation.asked import Asked
from recipes.evaluation.settings import Settings


@dataclass(frozen=True)
class Results:
    """Answers to a benchmark.

    Attributes:
        name: of the benchmark.
        benchmark: the benchmark.
        items: its questions.
        questions: as they are asked, by key.
        answers: by key.
        settings: how they were asked for; None: the answers were given.
        left_out: number of questions that could not be asked.
    """

    name: str
    benchmark: Benchmark
    items: Sequence[Item]
    questions: Mapping[str, Asked]
    answers: Mapping[str, str]
    settings: Settings | None
    left_out: int

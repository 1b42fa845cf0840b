"""Score answers with a benchmark's metric: all together, by groups, and one by one."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from recipes.benchmarks.benchmark import Benchmark
from recipes.benchmarks.item import Item
from recipes.metrics.single import ScoresSingly


@dataclass(frozen=True)
class Scores:
    """What a benchmark's metric says.

    Attributes:
        overall: scores by name.
        groups: by the name of a value, the scores of each of its classes.
        single: the score of every item, 0 to 1; None where an item alone has none.
        missing: number of items without an answer, which count as wrong.
        unparsed: number of answers that the metric does not understand, which count as wrong.
    """

    overall: Mapping[str, float]
    groups: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    single: Sequence[float | None] = ()
    missing: int = 0
    unparsed: int = 0


def scores_of(benchmark: Benchmark, items: Sequence[Item], answers: Mapping[str, str]) -> Scores:
    """Score answers.

    Args:
        benchmark: its metric is not changed.
        items: all of them count.
        answers: by key; those that are missing are wrong.

    Raises:
        ValueError: naming the item, if it lacks a value that the metric wants, or the metric cannot use it.
    """
    metric = _of(benchmark, items, answers)
    groups = {}
    for name in benchmark.groups:
        classes: dict[str, list[Item]] = {}
        for item in items:
            classes.setdefault(str(_value(item, name)), []).append(item)
        groups[name] = {
            label: _computed(_of(benchmark, members, answers)) for label, members in sorted(classes.items())
        }
    return Scores(
        _computed(metric),
        groups,
        _single(benchmark, items, answers),
        sum(item.key not in answers for item in items),
        int(getattr(metric, "unparsed", 0)),
    )


def check_items(benchmark: Benchmark, items: Sequence[Item]) -> None:
    """Check that all items can be scored, each and together, before a model is asked for hours.

    Raises:
        ValueError: naming the item, if it lacks a value that the metric wants, or the metric cannot use it; or if the
            metric cannot score these items together, such as one question of a pair.
        ImportError: naming the extra that the metric needs.
    """
    metric = _new(benchmark)
    if metric.higher_is_better is False and benchmark.per_item != "none":
        # The page shows the worst first, which would be the best.
        raise ValueError(f"{type(metric).__name__} is better the lower it is: the benchmark needs per_item: none")
    for item in items:
        try:
            _add(metric, benchmark, [item], {})
        except ValueError as error:
            raise ValueError(f"{item.where}: {error}") from error
        except TypeError as error:  # other arguments, or no missing answers
            raise ValueError(f"{item.where}: {type(metric).__name__} cannot score it ({error})") from error
    try:
        _computed(metric)
    except ValueError as error:
        raise ValueError(
            f"{type(metric).__name__} cannot score these {len(items)} questions together: {error}\n"
            "some may be missing, or --limit has left them out"
        ) from error


def is_scored(benchmark: Benchmark, items: Sequence[Item]) -> bool:
    """Whether the accepted answers are there: those of a test split are on its server."""
    wanted = set(benchmark.update.values())
    return any(wanted <= item.values.keys() for item in items)


def why_not_scored(benchmark: Benchmark, items: Sequence[Item]) -> str:
    """What `is_scored` misses, in words: a name that the YAML gets wrong looks like the answers of a test split."""
    held = {name: None for item in items for name in item.values}
    lacking = [name for name in benchmark.update.values() if name not in held] or list(benchmark.update.values())
    return (
        f"no question has what the metric compares with ({', '.join(lacking)}), only {', '.join(held)}: nothing is "
        "scored"
    )


def _of(benchmark: Benchmark, items: Sequence[Item], answers: Mapping[str, str]) -> Metric:
    """The metric with the answers to some items."""
    metric = _new(benchmark)
    _add(metric, benchmark, items, answers)
    return metric


def _new(benchmark: Benchmark) -> Metric:
    metric = deepcopy(benchmark.metric)
    # All answers are here: with those of other processes, it would wait for some that do not score.
    for each in metric.modules():
        if isinstance(each, Metric):
            each.distributed_available_fn = lambda: False
    return metric


def _add(metric: Metric, benchmark: Benchmark, items: Sequence[Item], answers: Mapping[str, str]) -> None:
    metric.update([answers.get(item.key) for item in items], **_columns(benchmark, items))


def _columns(benchmark: Benchmark, items: Sequence[Item]) -> dict[str, list[Any]]:
    return {name: [_value(item, value) for item in items] for name, value in benchmark.update.items()}


def _single(benchmark: Benchmark, items: Sequence[Item], answers: Mapping[str, str]) -> list[float | None]:
    if benchmark.per_item == "none":
        return [None] * len(items)
    alone = _new(benchmark)
    if isinstance(alone, ScoresSingly):
        return list(alone.single([answers.get(item.key) for item in items], **_columns(benchmark, items)))
    scores: list[float | None] = []
    for item in items:
        try:
            _add(alone, benchmark, [item], answers)
            scores.append(next(iter(_computed(alone).values())))
        except ValueError as error:
            raise ValueError(f"{item.where}: {error}") from error
        alone.reset()
    return scores


def _value(item: Item, name: str) -> Any:
    if name not in item.values:
        raise ValueError(
            f"{item.where}: the benchmark's update or groups want {name}, but there is only "
            f"{', '.join(item.values)}; the answers of a test split are on its server"
        )
    return item.values[name]


def _computed(metric: Metric) -> dict[str, float]:
    """The scores by name; a metric's only one is called like its class."""
    computed: Tensor | Mapping[str, Tensor] = metric.compute()
    if isinstance(computed, Tensor):
        return {type(metric).__name__: float(computed)}
    return {name: float(value) for name, value in computed.items()}

"""The results as a section of docs/study.md."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from foveal.core import Size
from tools.study.arms import ARMS, BASELINE, QUESTIONS, shared_data
from tools.study.record import Cost, Score
from tools.study.results import Study

HEADING = "## Results"
TEXT = 30
"""Text tokens of a question, for counting operations."""


@dataclass(frozen=True)
class Row:
    """An arm with its finished seeds.

    Attributes:
        name: of the arm.
        cost: of an answer.
        scores: validations by seed, the last one at the end.
    """

    name: str
    cost: Cost
    scores: dict[int, list[Score]]

    @property
    def final(self) -> dict[int, float]:
        """ANLS at the end, by seed."""
        return {seed: scores[-1].anls for seed, scores in self.scores.items()}

    @property
    def halfway(self) -> list[float]:
        """ANLS at the first validation, which is halfway."""
        return [scores[0].anls for scores in self.scores.values()]


def rows_of(study: Study, arms: Iterable[str], seeds: Sequence[int]) -> dict[str, Row]:
    """The arms that have at least one finished seed, by name."""
    rows = {}
    for name in arms:
        found = {seed: scores for seed in seeds if (scores := study.scores(seed, name)) is not None}
        if found:
            rows[name] = Row(name, cost_of(study, name), found)
    return rows


def section(rows: dict[str, Row], steps: int, arms: Sequence[str], seeds: Sequence[int]) -> str:
    """The section, beginning with its heading; arms that lack a seed are named.

    Args:
        rows: the finished arms.
        steps: optimizer steps of every arm.
        arms: names of arms.
        seeds: of weights and pages.
    """
    wanted = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    lines = [HEADING, "", f"{steps} steps an arm, {wanted}. `±` is the standard deviation over seeds.", ""]
    for question, asked in QUESTIONS.items():
        if not asked.keys() & rows.keys():
            continue
        lines += [f"**{question}**", ""]
        columns = ["", "visual tokens", "MFLOP", "1000 parameters, of the connector", "ANLS halfway", "ANLS"]
        columns += ["against LLaVA-1.5", "what papers report"]
        lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [_line(rows[name], rows.get(BASELINE)) for name in asked if name in rows]
        lines.append("")
    missing = [
        f"{ARMS[name].title} ({', '.join(f'seed {seed}' for seed in seeds if seed not in _seeds(rows, name))})"
        for name in arms
        if set(seeds) - _seeds(rows, name)
    ]
    if missing:
        lines += ["Not finished: " + "; ".join(missing) + ".", ""]
    return "\n".join([*lines, "![ANLS of every arm and seed](study.png)", ""])


def with_section(page: str, written: str) -> str:
    """The page with its last section replaced, or added."""
    return f"{page.partition(HEADING)[0].rstrip()}\n\n{written}".lstrip()


def _seeds(rows: dict[str, Row], name: str) -> set[int]:
    return set(rows[name].scores) if name in rows else set()


def _line(row: Row, baseline: Row | None) -> str:
    arm = ARMS[row.name]
    shared = [] if baseline is None else [seed for seed in row.final if seed in baseline.final]
    gains = [] if baseline is None else [row.final[seed] - baseline.final[seed] for seed in shared]
    against = spread(gains, sign="+") if gains and row.name != BASELINE else ""
    return (
        f"| {arm.title} | {_cells(row.cost)} | {spread(row.halfway)} | {spread(list(row.final.values()))} | "
        f"{against} | {arm.claim} |"
    )


def _cells(cost: Cost) -> str:
    stacked = f" + {cost.stacked:.0f} stacked" if cost.stacked else ""
    return f"{cost.visual:.0f}{stacked} | {cost.mflop:.0f} | {cost.parameters:.0f}, {cost.connector:.0f}"


def spread(values: Sequence[float], *, sign: str = "") -> str:
    """Mean and standard deviation; the value alone if there is only one."""
    found = f"{mean(values):{sign}.3f}"
    return f"{found} ± {stdev(values):.3f}" if len(values) > 1 else found


def cost_of(study: Study, name: str) -> Cost:
    """What a finished arm takes to answer: counted from its checkpoint, or recorded where there is none.

    Raises:
        ValueError: if there is neither.
    """
    import torch

    from foveal.models import load
    from foveal.models.estimates.cost import cost

    stage = ARMS[name].stages[-1].name
    checkpoint = next(study.output.glob(f"seed-*/{stage}/checkpoint"), None)
    if checkpoint is None:
        recorded = next((run.cost for (_, arm), run in study.recorded.items() if arm == name), None)
        if recorded is None:
            raise ValueError(
                f"{study.output}: {name} has scores, but its checkpoint is gone; "
                f"remove seed-*/{name}.json to train it anew"
            )
        return recorded
    with torch.device("meta"):
        model = load(checkpoint).requires_grad_(False)
    found = [cost(model, [Size.of(size)], text=TEXT) for size in shared_data()["settings"]["sizes"]]
    visual, stacked = (mean(values) for values in ([each.visual for each in found], [each.stacked for each in found]))
    parts = found[0].parameters
    parameters, connector = (round(count / 1e3, 1) for count in (parts.total, parts.connector))
    return Cost(visual, stacked, round(mean(each.flops.total for each in found) / 1e6, 1), parameters, connector)

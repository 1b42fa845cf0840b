"""The `acuity` command: an eye test for models."""

import argparse
from argparse import ArgumentTypeError
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from foveal.core import Size
from foveal.models.estimates.cost import picture_size
from recipes.acuity_chart.conditions import Conditions, common, conditions_of
from recipes.acuity_chart.drawing import draw_chart
from recipes.acuity_chart.pages import ChartSettings, draw_chart_page
from recipes.acuity_chart.readers import Candidate
from recipes.acuity_chart.reading import READABLE, Chart, Reading, read_chart
from recipes.acuity_chart.results import said, write_answers, write_results
from recipes.acuity_chart.seams import joined
from recipes.answering.model import device_of
from recipes.command_line.console import calm, interrupts_end, short_errors, stop
from recipes.comparison.acuity import RESULTS
from recipes.progress.counted import CountedLine

T = TypeVar("T")
PICTURE, ANSWERS = "acuity.png", "answers.jsonl"


def main(options: argparse.Namespace) -> None:
    """Let all models read the same pages; write what they read, and draw it.

    Args:
        options: as `acuity_options` returns them.

    Raises:
        SystemExit: with 1 for unusable input or if a model cannot read the largest characters; 130 on an interrupt.
    """
    calm()
    try:
        sizes = None if options.sizes is None else tuple(map(picture_size, options.sizes))
    except ArgumentTypeError as error:
        stop(f"--sizes: {error}")
    with interrupts_end(), short_errors():
        _test(options, sizes)


def _test(options: argparse.Namespace, sizes: tuple[Size, ...] | None) -> None:
    device, names = device_of(options.device), short_names(options.named)
    conditions = [conditions_of(each) for each in options.checkpoints]
    questions = [options.question or each.question for each in conditions]
    settings = ChartSettings(
        options.alphabet or common(conditions, [each.alphabet for each in conditions], "--alphabet"),
        options.characters,
        _once(sizes) or common(conditions, [each.sizes for each in conditions], "--sizes"),
        _once(options.fonts) or common(conditions, [each.fonts for each in conditions], "--fonts"),
        _once(options.contrasts) or common(conditions, [each.contrasts for each in conditions], "--contrasts"),
    )
    heights = options.heights or common(conditions, [each.heights for each in conditions], "--heights")
    candidates = [Candidate(each, options.allow_import) for each in options.checkpoints]
    for name, candidate, each, question in zip(names, candidates, conditions, questions, strict=True):
        print(f"{name}: {candidate.way}\n  {_trained(each, settings, question)}", flush=True)
    seams = [{size: candidate.seams(size) for size in settings.sizes} for candidate in candidates]
    together = {size: joined([each[size] or () for each in seams]) for size in settings.sizes}
    chart = Chart(settings, tuple(sorted(set(heights), reverse=True)), options.pages, options.seed, together)
    for number in range(chart.pages):
        # Characters that do not fit are told before weights are read.
        draw_chart_page(settings, chart.heights[0], chart.seed, number, together)
    readings = []
    with closing(CountedLine("pages read", len(candidates) * len(chart.heights) * chart.pages)) as line:
        for name, candidate, question, own in zip(names, candidates, questions, seams, strict=True):
            limits = {"max_new_tokens": options.max_new_tokens, "batch_size": options.batch_size}
            reader = candidate.opened(device, settings.sizes, question, **limits)
            tokens = {size: reader.tokens(size) for size in settings.sizes}
            results, fit = read_chart(reader, chart, question, own, on_pages=line.add, **limits)
            readings.append(Reading(name, candidate.way, question, tokens, own, results, fit))
            line.skip(len(chart.heights) * chart.pages - len(results))
    _report(chart, readings, options.output)


def _report(chart: Chart, readings: Sequence[Reading], folder: Path) -> None:
    """Write and print the results; of models that cannot read the largest characters only the numbers.

    Raises:
        ValueError: naming those models.
    """
    print_table(chart, readings)
    print(f"answers: {write_answers(readings, folder / ANSWERS)}")
    print(f"numbers: {write_results(chart, readings, folder / RESULTS)}")
    if any(reading.fit for reading in readings):
        print(f"chart: {draw_chart(chart, readings, folder / PICTURE)}")
    if blind := [reading for reading in readings if reading.fit is None]:
        tallest = chart.heights[0]
        shares = ", ".join(f"{reading.name} {reading.heights[tallest].accuracy:.0%}" for reading in blind)
        raise ValueError(
            f"not charted, since less than {READABLE:.0%} of the largest characters ({tallest:g} pixels) were read: "
            f"{shares}\n{folder / ANSWERS} has what was answered: other --heights, --sizes, --fonts or --contrasts may "
            "suit the model,\nor it was trained with another --question or --alphabet"
        )


def print_table(chart: Chart, readings: Sequence[Reading]) -> None:
    """Print what each model reads at every height, and the smallest heights that it reads."""
    table = Table("height", *(reading.name for reading in readings))
    for height in chart.heights:
        tallies = (reading.heights.get(height) for reading in readings)
        table.add_row(f"{height:g} px", *(f"{each.accuracy:.0%}" if each else "" for each in tallies))
    Console().print(table)
    for reading in readings:
        if reading.fit is not None:
            words = (f"{share:.0%} {said(each, chart)}" for share, each in reading.fit.smallest.items())
            print(f"{reading.name} reads {', '.join(words)}")


def short_names(named: Sequence[Path]) -> list[str]:
    """The last parts of folders and hub names, as many as tell them apart."""
    for parts in range(2, max(len(each.parts) for each in named)):
        if len(set(names := ["/".join(each.parts[-parts:]) for each in named])) == len(named):
            return names
    return [str(each) for each in named]


def _once(values: Sequence[T] | None) -> tuple[T, ...]:
    """The values without repeats; none if there are none."""
    return tuple(dict.fromkeys(values or ()))


def _trained(conditions: Conditions, settings: ChartSettings, question: str) -> str:
    """The alphabet and the question, and where they come from."""
    own = settings.alphabet == conditions.alphabet and question == conditions.question
    if conditions.source is None:
        source = "not known from a run, so assumed" if own else "given"
    elif own:
        source = f"trained on them, says {conditions.source}"
    else:
        source = f"given; trained on {conditions.alphabet} and {conditions.question!r}, says {conditions.source}"
    return f"alphabet {settings.alphabet}, question {question!r} ({source})"

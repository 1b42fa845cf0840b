"""One model reads all pages of a chart, from large characters to small ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from foveal.core import Size
from recipes.acuity_chart.pages import ChartSettings, draw_chart_page
from recipes.acuity_chart.psychometric import Fit, fit_pages
from recipes.acuity_chart.readers import Reader
from recipes.acuity_chart.scores import Answered, Tally, answered, by, chance_level
from recipes.acuity_chart.seams import Seam

READABLE = 0.5
"""Share of the largest characters that a model must read: below, its chart would not show what it sees."""


@dataclass(frozen=True)
class Chart:
    """What all models read.

    Attributes:
        settings: what is printed.
        heights: of the characters in pixels, the largest first.
        pages: number of pages at each height.
        seed: of the pages and of the bootstrap.
        seams: for each size, the seams of all models, across which characters are put.
    """

    settings: ChartSettings
    heights: tuple[float, ...]
    pages: int
    seed: int
    seams: Mapping[Size, Sequence[Seam]]


@dataclass(frozen=True)
class Reading:
    """What one model read.

    Attributes:
        name: of the model, short.
        way: how it was opened.
        question: that it was asked.
        tokens: visual tokens of a page of each size; None: not known.
        seams: where its views of such a page meet; None: not known.
        results: of all pages; only those of the largest height if it cannot read them.
        fit: None if it cannot read the largest height.
    """

    name: str
    way: str
    question: str
    tokens: Mapping[Size, int | None]
    seams: Mapping[Size, Sequence[Seam] | None]
    results: tuple[Answered, ...]
    fit: Fit | None

    @property
    def heights(self) -> dict[float, Tally]:
        """Characters read at each height, the largest first."""
        return by(self.results, lambda each: each.page.height)


def read_chart(
    reader: Reader,
    chart: Chart,
    question: str,
    seams: Mapping[Size, Sequence[Seam] | None],
    *,
    max_new_tokens: int,
    batch_size: int,
    on_pages: Callable[[int], None],
) -> tuple[tuple[Answered, ...], Fit | None]:
    """Ask a model about every page; if it cannot read the largest characters, only about those.

    Args:
        reader: the model.
        chart: the pages.
        question: asked about each of them.
        seams: the model's own.
        max_new_tokens: longest answer in tokens.
        batch_size: pages read together.
        on_pages: called with the number of pages that were read since the last call.

    Raises:
        ValueError: if characters do not fit on a page, or the model cannot process one.
    """
    settings, results = chart.settings, list[Answered]()
    for height in chart.heights:
        for start in range(0, chart.pages, batch_size):
            numbers = range(start, min(start + batch_size, chart.pages))
            drawn = [draw_chart_page(settings, height, chart.seed, number, chart.seams) for number in numbers]
            answers = reader.answers([image for image, _ in drawn], question, max_new_tokens=max_new_tokens)
            for (_, page), answer in zip(drawn, answers, strict=True):
                results.append(answered(page, answer, settings.alphabet, seams[page.size] or ()))
            on_pages(len(drawn))
        if height == chart.heights[0] and by(results, lambda each: each.page.height)[height].accuracy < READABLE:
            return tuple(results), None
    hardest = [each for each in results if each.page.height == chart.heights[-1]]
    shares = [[each.accuracy for each in results if each.page.height == height] for height in chart.heights]
    chance = chance_level(hardest, settings.alphabet)
    return tuple(results), fit_pages(chart.heights, shares, chance=chance, seed=chart.seed)

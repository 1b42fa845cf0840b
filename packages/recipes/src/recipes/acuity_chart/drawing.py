"""The chart as a picture: accuracy against height, against visual tokens, and over the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foveal.core import Size
from recipes.acuity_chart.reading import Chart, Reading
from recipes.acuity_chart.results import said
from recipes.acuity_chart.scores import by, by_place, by_seam, by_tokens, cells_of
from recipes.reports.figures import figure_of, plain_text, write_figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by everybody (Okabe and Ito's palette)."""
MARKS = "osD^vP"
MAPS = 6
"""Most sizes of pages of which a map is drawn, the largest ones."""
FEW = 2
"""Characters in a cell of a map at which it is half transparent."""


def draw_chart(chart: Chart, readings: Sequence[Reading], path: Path) -> Path:
    """Draw the charts of all models that can read the largest characters.

    Args:
        chart: what was read.
        readings: at least one with a fit; those without are left out.
        path: PNG to write.
    """
    readable = [each for each in readings if each.fit is not None]
    largest = sorted(chart.settings.sizes, key=lambda size: size.area, reverse=True)[:MAPS]
    sizes = [size for size in chart.settings.sizes if size in largest]
    figure = figure_of(10, 4.6 + 1.9 * len(readable))
    parts: Any = figure.subfigures(1 + len(readable), 1, height_ratios=[4.6, *[1.9] * len(readable)])
    left, right = parts[0].subplots(1, 2, width_ratios=(3, 2))
    _draw_heights(left, chart, readable)
    _draw_tokens(right, readable)
    for part, reading in zip(parts[1:], readable, strict=True):
        _draw_maps(part, reading, sizes)
    return write_figure(figure, path, dpi=100)


def _draw_heights(axes: Any, chart: Chart, readings: Sequence[Reading]) -> None:
    """Accuracy at each height with its interval, and the fitted curve with the height at which half is read."""
    fine = np.geomspace(chart.heights[-1], chart.heights[0], 200)
    for number, reading in enumerate(readings):
        assert reading.fit is not None
        colour, fit = COLOURS[number % len(COLOURS)], reading.fit
        values = np.array([each.value for each in fit.accuracies])
        spread = [values - [each.low for each in fit.accuracies], [each.high for each in fit.accuracies] - values]
        words = (f"{share:.0%} {said(each, chart)}" for share, each in fit.smallest.items())
        axes.errorbar(
            chart.heights,
            values,
            yerr=spread,
            fmt=MARKS[number % len(MARKS)],
            color=colour,
            markersize=5,
            capsize=2,
            label=plain_text("\n    ".join([reading.name, *words])),
        )
        axes.plot(fine, fit.curve.at(fine), color=colour)
        axes.axhline(fit.curve.chance, color=colour, linewidth=0.8, linestyle=":")
        for share, each in fit.smallest.items():
            if np.isfinite(each.value):
                axes.plot([each.value] * 2, [0, share], color=colour, linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    axes.set_xticks(chart.heights, [f"{height:g}" for height in chart.heights])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("height of the characters (pixels of the page)")
    axes.set_ylabel("characters read")
    axes.set_title("dotted: chance; bars and brackets: 95 %", fontsize=8, loc="right", color="#57606a")
    axes.grid(color="#eeeeee")
    axes.legend(frameon=False, fontsize=8)


def _draw_tokens(axes: Any, readings: Sequence[Reading]) -> None:
    """Accuracy against the visual tokens of a page, a point for each size of page."""
    named = set[tuple[Size, int]]()
    for number, reading in enumerate(readings):
        tallies = by(reading.results, lambda each: each.page.size)
        known = {size: tokens for size in tallies if (tokens := reading.tokens[size])}
        if not known:
            continue
        rates = [rate for rate in by_tokens(reading.results, reading.tokens).values() if rate is not None]
        axes.plot(
            list(known.values()),
            [tallies[size].accuracy for size in known],
            MARKS[number % len(MARKS)],
            color=COLOURS[number % len(COLOURS)],
            label=plain_text(f"{reading.name}: {np.mean(rates):.2g} characters per token"),
        )
        for size, tokens in known.items() - named:
            place = (tokens, tallies[size].accuracy)
            axes.annotate(str(size), place, xytext=(4, 2), textcoords="offset points", fontsize=6.5)
        named |= known.items()
    axes.set_ylim(0, 1.02)
    axes.margins(x=0.2)
    axes.set_xlabel("visual tokens of a page")
    axes.set_ylabel("characters read, all heights")
    axes.grid(color="#eeeeee")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def _draw_maps(part: Any, reading: Reading, sizes: Sequence[Size]) -> None:
    """Accuracy over pages of each size, in their own shapes, with the seams of the model's views."""
    title = f"{reading.name}, all heights"
    if (found := by_seam(reading.results)) is not None:
        title += f"; across seams {found.across.accuracy:.0%}, beside them {found.beside:.0%}"
    part.suptitle(plain_text(title), fontsize=9)
    widths = [max(size.width, size.height / 3) for size in sizes]
    panels = part.subplots(1, len(sizes), squeeze=False, width_ratios=widths)
    for axes, size in zip(panels[0], sizes, strict=True):
        cells = by_place(reading.results, size, cells_of(reading.results, size))
        shares = np.array([[each.accuracy for each in row] for row in cells])
        # What rests on few characters is pale.
        certain = np.array([[each.shown / (each.shown + FEW) for each in row] for row in cells])
        drawn = axes.imshow(
            shares,
            alpha=certain,
            extent=(0, size.width, size.height, 0),
            vmin=0,
            vmax=1,
            cmap="viridis",
        )
        for seam in reading.seams[size] or ():
            place, along = [seam.at] * 2, [seam.start, seam.end]
            axes.plot(*((place, along) if seam.upright else (along, place)), color="white", linewidth=1)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(str(size), fontsize=8)
    part.colorbar(drawn, ax=panels[0].tolist(), label="characters read", shrink=0.9).ax.tick_params(labelsize=7)

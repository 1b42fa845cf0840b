"""Curves as SVG, which needs no script and follows the page's colours."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recipes.reports.html.document import text

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 12, 42
"""Margins around the curves."""
NARROWEST = 1e-12
"""Smallest difference that is shown, as a share of the values; smaller ones may be lost where floats are added."""
COLOURS = 8
"""Runs that have a colour of their own in the style; the next ones repeat them, dashed."""


@dataclass(frozen=True)
class Line:
    """A curve of a chart.

    Attributes:
        run: number of the run, which chooses the colour.
        name: of the run.
        points: (x, y), at least one, in the order of x; all finite.
        faint: drawn behind the others, as what was measured behind its mean.
        marked: with a mark at every point.
    """

    run: int
    name: str
    points: Sequence[tuple[float, float]]
    faint: bool = False
    marked: bool = False


def draw_chart(title: str, lines: Sequence[Line], *, across: str) -> str:
    """A figure with all lines on the same axes; the vertical one begins at 0, or below if a value is.

    Args:
        title: stands above it.
        lines: at least one.
        across: what the horizontal axis counts.
    """
    xs, ys = ([point[axis] for line in lines for point in line.points] for axis in (0, 1))
    horizontal = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    vertical = _Axis(min(0.0, *ys), max(0.0, *ys), HEIGHT - BOTTOM, TOP)
    ends = {line.name: f"{line.name} ends at {line.points[-1][1]:.4g}" for line in lines}
    parts = [
        f'<figure><figcaption>{text(title)}</figcaption>\n<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{text(f"{title} by {across}: " + ", ".join(ends.values()))}">'
    ]
    parts += _grid(horizontal, vertical, across)
    for line in sorted(lines, key=lambda line: not line.faint):
        parts.append(_line(line, [(horizontal(x), vertical(y)) for x, y in line.points]))
    return "\n".join([*parts, "</svg></figure>\n"])


def run_class(run: int) -> str:
    """Classes of what belongs to a run: its number, its colour, and whether its line is dashed."""
    return f"of-{run} run-{run % COLOURS}" + (" dashed" if run // COLOURS % 2 else "")


class _Axis:
    """Places values between two ends, of which round numbers are marked."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        largest = max(abs(low), abs(high))
        spread = high - low if high - low > NARROWEST * max(largest, NARROWEST) else max(largest, 1.0)
        unit = 10 ** math.floor(math.log10(spread / 4))
        self.step = next(factor * unit for factor in (1, 2, 5, 10) if spread / (factor * unit) <= 5)
        self.low, self.high = low, low + spread
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        return self._start + (value - self.low) / (self.high - self.low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [number * self.step for number in range(first, last + 1)]


def _grid(horizontal: _Axis, vertical: _Axis, across: str) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for tick in vertical.ticks():
        place = f"{vertical(tick):.1f}"
        yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{place}" y2="{place}"/>'
        yield f'<text x="{LEFT - 6}" y="{place}" dy="4" text-anchor="end">{tick:.6g}</text>'
    for tick in horizontal.ticks():
        place = f"{horizontal(tick):.1f}"
        yield f'<line class="grid" x1="{place}" x2="{place}" y1="{TOP}" y2="{bottom}"/>'
        yield f'<text x="{place}" y="{bottom + 16}" text-anchor="middle">{tick:,.6g}</text>'
    yield f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{text(across)}</text>'


def _line(line: Line, places: Sequence[tuple[float, float]]) -> str:
    kind = f"{run_class(line.run)}{' faint' if line.faint else ''}"
    drawn = f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
    if line.marked or len(places) == 1:
        for (x, y), (at, value) in zip(places, line.points, strict=True):
            said = text(f"{line.name}: {value:.4g} at {at:.6g}")
            drawn += f'\n<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{said}</title></circle>'
    return drawn

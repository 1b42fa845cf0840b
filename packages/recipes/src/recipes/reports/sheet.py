"""A figure of the model's answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from PIL.Image import Image

from recipes.reports.figures import figure_of, frame, plain_text, write_figure

COLUMNS, NARROW, WIDE = 4, 3.2, 4.6
"""Pictures in a line, and the width of each in inches: of small pages, and of documents that must stay readable."""
DPI = 110
LOW = 3.4
"""Inches that every picture may be high; higher ones only as far as they have the pixels."""
TEXT = 1.1
"""Height of the texts of a line in inches."""
CHARACTERS = 10
"""In an inch of text."""
RIGHT, WRONG = "#1a7f37", "#b42318"


@dataclass(frozen=True)
class SheetRow:
    """A question with its picture (None: text only), the accepted answer and the prediction."""

    picture: Image | None
    question: str
    reference: str
    prediction: str


def draw_sheet(rows: Sequence[SheetRow], path: Path) -> Path:
    """Draw pictures, each with question, answer and prediction; right predictions are green, wrong ones red.

    Args:
        rows: at least one.
        path: PNG to write.

    Raises:
        ValueError: if there is nothing to draw.
    """
    if not rows:
        raise ValueError("there are no predictions to draw")
    wide = max((row.picture.width for row in rows if row.picture is not None), default=0)
    width = min(max(wide / DPI, NARROW), WIDE)
    lines = [rows[start : start + COLUMNS] for start in range(0, len(rows), COLUMNS)]
    heights = [max(_height(row.picture, width) for row in line) + TEXT for line in lines]
    figure = figure_of(width * COLUMNS, sum(heights))
    grid = figure.add_gridspec(len(lines), COLUMNS, height_ratios=heights)
    characters = int(CHARACTERS * width)
    for number, row in enumerate(rows):
        axes = figure.add_subplot(grid[number // COLUMNS, number % COLUMNS])
        frame(axes, "#d0d7de", 0.8)
        if row.picture is None:
            axes.text(0.5, 0.5, "(text only)", ha="center", va="center", color="#57606a", transform=axes.transAxes)
        else:
            axes.imshow(row.picture, interpolation="nearest" if max(row.picture.size) < 200 else "antialiased")
        right = row.prediction.strip().lower() == row.reference.strip().lower()
        text = plain_text(f"{_short(row.question, characters)}\nanswer: {_short(row.reference, characters)}")
        axes.set_title(text, fontsize=8, loc="left")
        said = plain_text(f"model: {_short(row.prediction, characters)}")
        axes.set_xlabel(said, fontsize=9, color=RIGHT if right else WRONG)
    return write_figure(figure, path, DPI)


def _height(picture: Image | None, width: float) -> float:
    """Inches that a picture needs in a column of that width."""
    if picture is None:
        return 1.0
    return min(width * picture.height / picture.width, max(LOW, picture.height / DPI))


def _short(text: str, characters: int) -> str:
    """At most three lines of a text."""
    limit = 3 * characters
    return fill(text if len(text) <= limit else f"{text[: limit - 1]}…", characters)

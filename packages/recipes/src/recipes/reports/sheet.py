"""A figure of the model's answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from PIL.Image import Image

from foveal.core import Box
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
RIGHT, WRONG, PLACE = "#1a7f37", "#b42318", "#e11d74"


@dataclass(frozen=True)
class SheetRow:
    """A question with its accepted answer and the prediction.

    Attributes:
        picture: what was asked about; None: text only.
        question: as it was asked.
        reference: the accepted answer.
        prediction: the model's.
        box: where the answer stands, in pixels of the picture; None: it is not known.
        crop: that place in the pixels that there are, with what is around it.
    """

    picture: Image | None
    question: str
    reference: str
    prediction: str
    box: Box | None = None
    crop: Image | None = None


def draw_sheet(rows: Sequence[SheetRow], path: Path) -> Path:
    """Draw pictures, each with question, answer and prediction; right predictions are green, wrong ones red.

    The place of the answer is marked, and shown in the width of the column below the picture.

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
    heights = [max(sum(_heights(row, width)) for row in line) + TEXT for line in lines]
    figure = figure_of(width * COLUMNS, sum(heights))
    grid = figure.add_gridspec(len(lines), COLUMNS, height_ratios=heights)
    characters = int(CHARACTERS * width)
    for number, row in enumerate(rows):
        parts = _heights(row, width)
        cell = grid[number // COLUMNS, number % COLUMNS].subgridspec(len(parts), 1, height_ratios=parts)
        first, *others = (figure.add_subplot(cell[part]) for part in range(len(parts)))
        _draw(first, row.picture, row.box)
        for axes in others:
            _draw(axes, row.crop, None)
        right = row.prediction.strip().lower() == row.reference.strip().lower()
        text = plain_text(f"{_short(row.question, characters)}\nanswer: {_short(row.reference, characters)}")
        first.set_title(text, fontsize=8, loc="left")
        said = plain_text(f"model: {_short(row.prediction, characters)}")
        (others or [first])[-1].set_xlabel(said, fontsize=9, color=RIGHT if right else WRONG)
    return write_figure(figure, path, DPI)


def _draw(axes: Any, picture: Image | None, box: Box | None) -> None:
    frame(axes, "#d0d7de", 0.8)
    if picture is None:
        axes.text(0.5, 0.5, "(text only)", ha="center", va="center", color="#57606a", transform=axes.transAxes)
        return
    # Matplotlib puts the middle of the first pixel at 0, boxes have its corner there.
    corners = (0, picture.width, picture.height, 0)
    axes.imshow(picture, interpolation="nearest" if max(picture.size) < 200 else "antialiased", extent=corners)
    if box is not None:
        left, top, right, bottom = box
        axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=PLACE, linewidth=1.2)


def _heights(row: SheetRow, width: float) -> list[float]:
    """Inches that the picture of a row needs, and its crop if there is one."""
    crop = [] if row.crop is None else [min(width * row.crop.height / row.crop.width, LOW)]
    return [_height(row.picture, width), *crop]


def _height(picture: Image | None, width: float) -> float:
    """Inches that a picture needs in a column of that width."""
    if picture is None:
        return 1.0
    return min(width * picture.height / picture.width, max(LOW, picture.height / DPI))


def _short(text: str, characters: int) -> str:
    """At most three lines of a text."""
    limit = 3 * characters
    return fill(text if len(text) <= limit else f"{text[: limit - 1]}…", characters)

"""A figure of the model's answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from PIL.Image import Image

COLUMNS = 4
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not rows:
        raise ValueError("there are no predictions to draw")
    lines = -(-len(rows) // COLUMNS)
    figure = Figure(figsize=(3.2 * COLUMNS, 4.2 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, row in enumerate(rows, start=1):
        axes = figure.add_subplot(lines, COLUMNS, number)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#d0d7de")
        if row.picture is None:
            axes.text(0.5, 0.5, "(text only)", ha="center", va="center", color="#57606a", transform=axes.transAxes)
        else:
            axes.imshow(row.picture, interpolation="nearest" if max(row.picture.size) < 200 else "antialiased")
        right = row.prediction.strip().lower() == row.reference.strip().lower()
        text = plain_text(f"{_short(row.question)}\nanswer: {_short(row.reference)}")
        axes.set_title(text, fontsize=8, loc="left")
        axes.set_xlabel(plain_text(f"model: {_short(row.prediction)}"), fontsize=9, color=RIGHT if right else WRONG)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _short(text: str) -> str:
    return fill(text if len(text) <= 90 else f"{text[:89]}…", 32)


def plain_text(text: str) -> str:
    """Escape dollar signs, which would start a formula."""
    return text.replace("$", r"\$")

"""What all figures share: they are drawn without a window, and written as PNG."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure_of(width: float, height: float) -> "Figure":
    """An empty figure, whose parts make room for each other.

    Args:
        width: in inches.
        height: in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def frame(axes: "Axes", colour: object, width: float) -> None:
    """Give a picture a frame in the place of axes, `width` points wide."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=width)


def write_figure(figure: "Figure", path: Path, dpi: int = 110) -> Path:
    """Write a figure.

    Args:
        figure: from `figure_of`.
        path: PNG to write; its folder is made.
        dpi: pixels of an inch.

    Returns:
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path


def plain_text(text: str) -> str:
    """Escape dollar signs, which would start a formula."""
    return text.replace("$", r"\$")

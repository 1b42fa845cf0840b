"""How a plan cuts a picture: numbers of every view, and a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from foveal.core import Box, Size
from foveal.models import VisionLanguageModel
from recipes.reports.figures import figure_of, frame, plain_text, write_figure

SHOWN = 36
"""Most views that are drawn as pictures of their own."""


@dataclass(frozen=True)
class Shown:
    """One view of a picture.

    Attributes:
        view: its size in pixels.
        box: the part of the picture that it shows.
        padding: the part of its area that shows no picture, in 0..1.
        tokens: visual tokens of its set of views before any merge, for the first view of a set; None: not the first.
    """

    view: Size
    box: Box
    padding: float
    tokens: int | None

    @property
    def scales(self) -> str:
        """Pixels of the view for each pixel of the picture, across and down; once if the two are nearly equal."""
        across, down = self.view.width / self.box.width, self.view.height / self.box.height
        return f"{across:.2f}" if abs(self.squash - 1) < 0.02 else f"{across:.2f} x {down:.2f}"

    @property
    def squash(self) -> float:
        """How many times wider the picture is shown than it is, against its height; 1: as it is."""
        return self.view.width / self.box.width * self.box.height / self.view.height


def shown_views(model: VisionLanguageModel, picture: Size) -> list[Shown]:
    """The views of a picture, in the order of its plan.

    Args:
        model: may be on the meta device.
        picture: size of the picture.

    Raises:
        ValueError: if the model cannot process such a picture.
        NotImplementedError: if the plan does not say what its views show.
    """
    plan, encoder = model.processor.plan, model.encoder
    views, boxes, inputs = plan.views(picture), plan.regions(picture), plan.inputs
    shown = []
    for number, (view, box) in enumerate(zip(views, boxes, strict=True)):
        tokens = None
        if number % inputs == 0:
            with torch.device("meta"):
                tokens = model.connector.num_tokens(*encoder.grids(*views[number : number + inputs]))
        shown.append(Shown(view, box, _padding(box, picture), tokens))
    return shown


def in_order(layout: Sequence[int | str], inputs: int = 1) -> str:
    """The order of views and texts in the prompt, in words: `1 , 2 \\n 3`.

    Args:
        layout: a plan's, with indices of sets.
        inputs: number of views in a set; those of one set stand together as `1+2`.
    """
    names = []
    for item in layout:
        if isinstance(item, str):
            names.append(repr(item)[1:-1])
        else:
            names.append("+".join(str(item * inputs + number) for number in range(1, inputs + 1)))
    return " ".join(names)


def draw_views(picture: Image, views: Sequence[Image], shown: Sequence[Shown], title: str, path: Path) -> Path:
    """Draw the picture with the boxes of its views on it, and beside it every view in its own shape.

    Args:
        picture: RGB.
        views: as the plan cut them; at most `SHOWN` are drawn.
        shown: what each of them shows, in the same order.
        title: stands above the figure.
        path: PNG to write.
    """
    from matplotlib import colormaps

    drawn = list(zip(views, shown, strict=True))[:SHOWN]
    columns = ceil(sqrt(len(drawn)))
    lines = -(-len(drawn) // columns)
    figure = figure_of(5.5 + 2.2 * columns, max(2.5 * lines, 5.5) + 0.8)
    figure.suptitle(plain_text(title) + ("" if len(drawn) == len(views) else f"\nthe first {SHOWN} views"), fontsize=10)
    halves: Any = figure.subfigures(1, 2, width_ratios=(5.5, 2.2 * columns))
    left, right = halves
    colours = [colormaps["tab20"](number % 20) for number in range(len(drawn))]
    _draw_boxes(left.add_subplot(), picture, [each for _, each in drawn], colours)
    for number, ((view, each), colour) in enumerate(zip(drawn, colours, strict=True), start=1):
        axes = right.add_subplot(lines, columns, number)
        axes.imshow(view, interpolation="nearest" if max(view.size) < 100 else "antialiased")
        frame(axes, colour, 2)
        tokens = "" if each.tokens is None else f", {each.tokens} tokens"
        axes.set_title(f"{number}: {each.view}{tokens}", fontsize=8)
        axes.set_xlabel(f"scale {each.scales}", fontsize=7)
    return write_figure(figure, path)


def _draw_boxes(axes: Any, picture: Image, shown: Sequence[Shown], colours: Sequence[Any]) -> None:
    """The picture, with the box of every view; what lies outside of the picture is padding, in grey."""
    from matplotlib.patches import Rectangle

    axes.set_facecolor("#d0d7de")
    axes.imshow(picture, extent=(0, picture.width, picture.height, 0), zorder=1)
    # Boxes of the same part are drawn inside of each other, so that each one can be seen.
    step, seen = 0.012 * max(picture.size), dict[Box, int]()
    for number, (each, colour) in enumerate(zip(shown, colours, strict=True), start=1):
        box, repeated = each.box, seen.get(each.box, 0)
        seen[box] = repeated + 1
        inset = min(step * repeated, 0.4 * min(box.width, box.height))
        width, height = box.width - 2 * inset, box.height - 2 * inset
        corner = (box.left + inset, box.top + inset)
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=2, zorder=2))
        label = {"facecolor": colour, "edgecolor": "none", "pad": 1.5}
        place = (box.left + inset + step, box.top + inset + step * (1 + 3 * repeated))
        axes.text(*place, str(number), fontsize=8, va="top", bbox=label, zorder=3)
    margin = 0.01 * max(picture.size)
    axes.set_xlim(min(each.box.left for each in shown) - margin, max(each.box.right for each in shown) + margin)
    axes.set_ylim(max(each.box.bottom for each in shown) + margin, min(each.box.top for each in shown) - margin)
    axes.tick_params(labelsize=7)


def _padding(box: Box, picture: Size) -> float:
    """The part of a box that is outside of the picture."""
    shown = box.overlap(Box.whole(picture))
    return 1 - shown.area / box.area if shown is not None else 1.0

"""Figures of relevance maps: the answer and its words on the picture, and what the visual tokens look at."""

from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from PIL.Image import Image, Resampling, fromarray

from foveal.core import Box
from foveal.models import Explanation, QueryToPatch
from foveal.models.relevance.numbers import duplicate_groups, duplicates
from recipes.reports.figures import figure_of, frame, plain_text, write_figure

WORDS = 24
"""Most words that are drawn."""
QUERIES = 144
"""Most visual tokens that are drawn."""
LONGEST = 900
"""Longest side of a picture in a figure, in pixels."""
STRONGEST = 0.75
"""How opaque the colour of the largest relevance is."""

Pixels = np.ndarray[Any, np.dtype[np.float64]]


def heated(picture: Image, relevance: np.ndarray[Any, Any]) -> Pixels:
    """A picture with a relevance map over it, [height, width, 3] in 0..1: from blue to red as relevance grows from the
    map's smallest value to its largest, and the more opaque the larger it is.

    Args:
        picture: RGB; a large one is drawn smaller.
        relevance: [rows, columns], over the whole picture.
    """
    from matplotlib import colormaps

    scale = min(1.0, LONGEST / max(picture.size))
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    below = np.asarray(picture.resize(size, Resampling.LANCZOS), dtype=np.float64) / 255
    stretched = np.asarray(fromarray(relevance.astype(np.float32)).resize(size, Resampling.BILINEAR), dtype=np.float64)
    low, high = stretched.min(), stretched.max()
    share = (stretched - low) / (high - low) if high > low else np.zeros_like(stretched)
    colours = colormaps["jet"](share)[..., :3]
    opaque = STRONGEST * share[..., None]
    return colours * opaque + below * (1 - opaque)


def draw_answer(pictures: Sequence[Image], explained: Explanation, box: Box | None, path: Path) -> Path:
    """Draw the relevance of the whole answer on every picture.

    Args:
        pictures: RGB, in the order of the question.
        explained: what was explained.
        box: on the first picture, where the answer stands.
        path: PNG to write.
    """
    panels = [(picture, found, "") for picture, found in zip(pictures, explained.over_answer, strict=True)]
    return _draw(panels, box, f"{_short(explained.question)}\n{_short(explained.answer)}", path, side=5.5)


def draw_words(pictures: Sequence[Image], explained: Explanation, box: Box | None, path: Path) -> Path:
    """Draw the relevance of each word, of at most `WORDS`, on every picture. Arguments are those of `draw_answer`."""
    panels = [
        (picture, found, word.word)
        for word in explained.per_word[:WORDS]
        for picture, found in zip(pictures, word.maps, strict=True)
    ]
    left = len(explained.per_word) - WORDS
    more = f"\n(the first {WORDS} words; {left} more)" if left > 0 else ""
    return _draw(panels, box, f"{_short(explained.question)}\neach word by its own largest value{more}", path, side=2.6)


def draw_queries(explained: Explanation, path: Path) -> Path | None:
    """Draw what every visual token of one set of views looks at, whatever the question; tokens that repeat each other
    have frames of one colour.

    Of several sets, the one with the most patches is drawn. Nothing is drawn if every token is a patch of its own.

    Args:
        explained: what was explained.
        path: PNG to write.

    Returns:
        `path`, or None if nothing was drawn.
    """
    from matplotlib import colormaps

    chosen = explained.query_to_patch[_drawn_set(explained)]
    table = torch.cat(chosen.tables, dim=1)
    if all(_is_own_patch(each) for each in chosen.tables):
        return None
    planes, number = _planes(chosen)[:QUERIES], len(table)
    columns = ceil(sqrt(len(planes)))
    lines = -(-len(planes) // columns)
    aspect = chosen.grids[0].rows / chosen.grids[0].columns
    figure = figure_of(max(0.9 * columns, 3.2), 0.9 * aspect * lines + 0.9)
    left = f", the first {QUERIES} of {number}" if number > QUERIES else ""
    alike = duplicates(table)
    figure.suptitle(
        f"picture {chosen.picture + 1}, views {chosen.number + 1}: {number} tokens{left}\n"
        f"duplicates ({alike:.1%} of the pairs) have frames of one colour",
        fontsize=8,
    )
    frames = {
        query: colormaps["tab20"](place % 20) for place, group in enumerate(duplicate_groups(table)) for query in group
    }
    for query, plane in enumerate(planes):
        axes = figure.add_subplot(lines, columns, query + 1)
        axes.imshow(plane, cmap="viridis", vmin=0)
        frame(axes, frames.get(query, "#d0d7de"), 3 if query in frames else 0.5)
    return write_figure(figure, path, dpi=100)


def draw_tokens(explained: Explanation, path: Path) -> Path | None:
    """Draw the relevance of every visual token of one set of views for each word, of at most `WORDS`: text to query.

    The set is that of `draw_queries`. Nothing is drawn if every token is a patch of its own, which the maps show.

    Args:
        explained: what was explained; each word is coloured by its own largest value.
        path: PNG to write.

    Returns:
        `path`, or None if nothing was drawn.
    """
    number = _drawn_set(explained)
    chosen, words = explained.query_to_patch[number], explained.per_word[:WORDS]
    if all(_is_own_patch(each) for each in chosen.tables) or not words:
        return None
    rows = torch.stack([word.text_to_query[number] for word in words])
    shares = rows / rows.amax(dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
    figure = figure_of(max(3.2, min(0.12 * rows.shape[1], 12)) + 1, 0.22 * len(words) + 1.2)
    axes = figure.add_subplot()
    axes.imshow(shares.numpy(), cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(words)), [plain_text(word.word) for word in words], fontsize=8)
    axes.set_xlabel(f"visual tokens of picture {chosen.picture + 1}, views {chosen.number + 1}", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    return write_figure(figure, path, dpi=100)


def _drawn_set(explained: Explanation) -> int:
    """The number of the set of views with the most patches."""
    cells = [each.grids[0].cells for each in explained.query_to_patch]
    return cells.index(max(cells))


def _draw(
    panels: Sequence[tuple[Image, np.ndarray[Any, Any], str]], box: Box | None, title: str, path: Path, *, side: float
) -> Path:
    """Draw pictures with maps over them in rows of up to four; `box` belongs to pictures that equal the first."""
    from matplotlib.patches import Rectangle

    columns = min(len(panels), 4)
    lines = -(-len(panels) // columns)
    aspect = max(min(picture.height / picture.width, 2.5) for picture, _, _ in panels)
    figure = figure_of(side * columns, side * aspect * lines + 0.3 * lines + 0.7)
    figure.suptitle(plain_text(title), fontsize=9)
    for number, (picture, relevance, label) in enumerate(panels, start=1):
        axes = figure.add_subplot(lines, columns, number)
        axes.imshow(heated(picture, relevance), extent=(0, picture.width, picture.height, 0))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(plain_text(_short(label)), fontsize=9)
        if box is not None and picture is panels[0][0]:
            axes.add_patch(
                Rectangle((box.left, box.top), box.width, box.height, fill=False, edgecolor="#1a7f37", linewidth=2)
            )
    return write_figure(figure, path)


def _planes(chosen: QueryToPatch) -> list[np.ndarray[Any, Any]]:
    """What each token looks at, on the plane of the first map; maps of other grids are left out of the drawing."""
    grid = chosen.grids[0]
    together = sum(table for table, own in zip(chosen.tables, chosen.grids, strict=True) if own == grid)
    assert isinstance(together, torch.Tensor)
    return list(together.unflatten(1, grid).numpy())


def _is_own_patch(table: torch.Tensor) -> bool:
    return table.shape[0] == table.shape[1] and bool((table.count_nonzero(dim=1) <= 1).all())


def _short(text: str) -> str:
    return shorten(text, 60, placeholder=" ...")

"""Under which conditions a model is tested: those of its training, as far as they are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import TypeVar

from foveal.core import Size
from foveal.models.published import is_published
from recipes.acuity_chart.glyphs import FONTS, FontName, relative_height
from recipes.acuity_chart.trained_on import READ, trained_on
from recipes.data.pages import PageSettings

T = TypeVar("T")
ASKED = "What is written in this picture? Answer with its characters only."
"""For models that were trained to follow instructions."""
HEIGHTS = (48.0, 32.0, 24.0, 16.0, 12.0, 10.0, 8.0, 6.0, 4.0)
SIZES = (Size(448, 448), Size(896, 224), Size(224, 896))
CONTRASTS = (1.0, 0.5)
"""Heights of characters and sizes of pages in pixels, and contrasts, if nothing is known; and all fonts."""
CLOSE, SMALLEST = 10, 3
"""Heights in pixels of a chart that begins at what a run trained on: all whole ones up to `CLOSE`, and none below
`SMALLEST`, since digits need five rows to differ."""


@dataclass(frozen=True)
class Conditions:
    """How one model is tested, unless options say otherwise.

    Attributes:
        source: the configuration of the run that says so; None: there is none, and they are assumed.
        alphabet: the characters.
        question: asked about every page.
        heights: of the characters in pixels, the largest first.
        sizes: of the pages in pixels.
        fonts: in which they are printed.
        contrasts: of ink and paper.
    """

    source: Path | None
    alphabet: str
    question: str
    heights: tuple[float, ...]
    sizes: tuple[Size, ...]
    fonts: tuple[FontName, ...]
    contrasts: tuple[float, ...]


def conditions_of(checkpoint: Path) -> Conditions:
    """The conditions of a model's training if its run is there, else those that are assumed.

    Args:
        checkpoint: folder or hub name.

    Raises:
        ValueError: as for `trained_on`.
    """
    found = trained_on(checkpoint)
    if found is None:
        question = ASKED if is_published(checkpoint) else READ
        return Conditions(None, PageSettings().characters, question, HEIGHTS, SIZES, FONTS, CONTRASTS)
    tallest = max(floor(found.font_size * relative_height(found.fonts[0], found.alphabet)), SMALLEST)
    close = range(SMALLEST, min(tallest, CLOSE) + 1)
    heights = {float(tallest), *map(float, close), *(height for height in HEIGHTS if CLOSE < height < tallest)}
    ordered = tuple(sorted(heights, reverse=True))
    return Conditions(found.source, found.alphabet, found.question, ordered, found.sizes, found.fonts, (1.0,))


def common(conditions: Sequence[Conditions], values: Sequence[T], option: str) -> T:
    """The value that all models are tested with: that of those whose training is known.

    Args:
        conditions: of all models.
        values: of each one.
        option: with which another value can be given, for the message.

    Raises:
        ValueError: if they were trained with different ones.
    """
    known = [value for each, value in zip(conditions, values, strict=True) if each.source] or values[:1]
    if other := [value for value in known if value != known[0]]:
        raise ValueError(
            f"the models were trained with different {option.removeprefix('--')}, {known[0]} and {other[0]}: "
            f"give {option}"
        )
    return known[0]

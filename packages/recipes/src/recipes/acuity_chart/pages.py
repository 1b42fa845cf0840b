"""Pages of an acuity chart: a few characters of a given height somewhere on a page."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from PIL import Image as Pillow
from PIL.Image import Image

from foveal.core import Box, Size
from recipes.acuity_chart.glyphs import STEPS, FontName, Line, line_of
from recipes.acuity_chart.seams import Seam

MARGIN = 2
"""Pixels between ink and the edge of a page, as on the built-in pages."""
ACROSS = 3
"""On every third page, a character lies across a seam, if the models have any there."""


@dataclass(frozen=True)
class ChartSettings:
    """What is printed, and on which pages.

    Attributes:
        alphabet: the characters, each one once.
        characters: how many of them are on a page.
        sizes: sizes of pages in pixels.
        fonts: see `recipes.acuity_chart.glyphs`.
        contrasts: (paper - ink) / paper, in 0..1, paper being white; 1 is black ink.

    Raises:
        ValueError: naming what is missing or wrong.
    """

    alphabet: str
    characters: int
    sizes: tuple[Size, ...]
    fonts: tuple[FontName, ...]
    contrasts: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(set(self.alphabet)) < max(2, len(self.alphabet)) or any(each.isspace() for each in self.alphabet):
            raise ValueError(f"the alphabet {self.alphabet!r} needs at least two characters, each once, and no spaces")
        if self.characters < 1:
            raise ValueError(f"{self.characters} characters on a page: there must be at least 1")
        for name in ("sizes", "fonts", "contrasts"):
            if not getattr(self, name):
                raise ValueError(f"{name}: at least one is needed")
        if wrong := [each for each in self.contrasts if not 0 < each <= 1]:
            raise ValueError(f"a contrast of {wrong[0]:g}: it is more than 0 and at most 1, which is black on white")


@dataclass(frozen=True)
class Printed:
    """What is on a page.

    Attributes:
        size: of the page, in pixels.
        text: the characters.
        boxes: the ink of each one, in pixels from the page's top left corner.
        height: of the characters, in pixels.
        font: its name.
        contrast: as in `ChartSettings`.
    """

    size: Size
    text: str
    boxes: tuple[Box, ...]
    height: float
    font: FontName
    contrast: float


def draw_chart_page(
    settings: ChartSettings,
    height: float,
    seed: int,
    index: int,
    seams: Mapping[Size, Sequence[Seam]] | None = None,
) -> tuple[Image, Printed]:
    """Page number `index` with characters of `height` pixels, and what is on it; the same arguments give the same page.

    Sizes, fonts and contrasts take turns in a random order, so that all are about equally frequent at every height.

    Args:
        settings: what is printed.
        height: of the characters' ink, in pixels.
        seed: of the chart.
        index: number of the page at this height.
        seams: for each size, where views of the models meet; on every third page a character lies across one.

    Raises:
        ValueError: if the characters do not fit on the page, or the font does not have them.
    """
    kinds = list(product(settings.sizes, settings.fonts, settings.contrasts))
    at = f"{seed}/{float(height)}"
    random.Random(at).shuffle(kinds)
    rng = random.Random(f"{at}/{index}")
    size, font, contrast = kinds[index % len(kinds)]
    text = "".join(rng.choices(settings.alphabet, k=settings.characters))
    line = line_of(text, font, height, settings.alphabet)
    room = [STEPS * (side - 2 * MARGIN) - ink for side, ink in zip(size, line.ink.size, strict=True)]
    if min(room) < 0:
        raise ValueError(
            f"{settings.characters} characters of {height:g} pixels do not fit on a page of {size} pixels in "
            f"{font}: give larger pages, smaller characters or fewer of them"
        )
    x, y = (STEPS * MARGIN + rng.randint(0, free) for free in room)
    if index % ACROSS == ACROSS - 1 and (places := _across(line, room, (seams or {}).get(size, ()), (x, y))):
        x, y = rng.choice(places)
    image = Pillow.new("RGB", size, "white")
    _print(image, line.ink, x, y, contrast)
    boxes = tuple(
        Box(left + x / STEPS, top + y / STEPS, right + x / STEPS, bottom + y / STEPS)
        for left, top, right, bottom in line.boxes
    )
    return image, Printed(size, text, boxes, height, font, contrast)


def _across(line: Line, room: Sequence[int], seams: Sequence[Seam], place: tuple[int, int]) -> list[tuple[int, int]]:
    """The places, in steps, at which the middle of a character is on a seam, and which fit on the page."""
    x, y = place
    found = []
    for seam in seams:
        for box in line.boxes:
            middle = (box.left + box.right) / 2 if seam.upright else (box.top + box.bottom) / 2
            at = round((seam.at - middle) * STEPS)
            moved = (at, y) if seam.upright else (x, at)
            if all(0 <= side - STEPS * MARGIN <= free for side, free in zip(moved, room, strict=True)):
                found.append(moved)
    return sorted(set(found))


def _print(page: Image, ink: Image, x: int, y: int, contrast: float) -> None:
    """Print ink at a place given in steps: each pixel gets the mean of its steps, as a camera would see it."""
    (left, right), (top, bottom) = divmod(x, STEPS), divmod(y, STEPS)
    covered = [-(-(ink.width + right) // STEPS) * STEPS, -(-(ink.height + bottom) // STEPS) * STEPS]
    whole = Pillow.new("L", (covered[0], covered[1]))
    whole.paste(ink, (right, bottom))
    level = round(255 * (1 - contrast))
    page.paste((level, level, level), (left, top), whole.reduce(STEPS))

"""Characters of an exact height in pixels, in fonts that are there wherever the recipes are."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Literal, get_args

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from PIL.Image import Image

from foveal.core import Box

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
FILES = {
    "dejavu-sans": "DejaVuSans",
    "dejavu-sans-bold": "DejaVuSans-Bold",
    "dejavu-serif": "DejaVuSerif",
    "dejavu-mono": "DejaVuSansMono",
}
"""Fonts that come with matplotlib; Aileron comes with Pillow."""
FontName = Literal["aileron", "dejavu-sans", "dejavu-sans-bold", "dejavu-serif", "dejavu-mono"]
FONTS: tuple[FontName, ...] = get_args(FontName)
STEPS = 8
"""Steps of a pixel in which heights and places are exact: characters are drawn that much larger, then reduced. Drawn at
their size, hinting would round heights to whole pixels and leave some of them out."""
MEASURED = 400
"""Font size at which the height of a font's characters is measured."""


@dataclass(frozen=True)
class Line:
    """Characters in a row.

    Attributes:
        ink: how much ink is on each place: mode L, `STEPS` times as large as on the page, without blank borders.
        boxes: the ink of each character, in pixels of the page from the line's top left corner.
    """

    ink: Image
    boxes: tuple[Box, ...]


def line_of(text: str, font: FontName, height: float, alphabet: str) -> Line:
    """Print characters whose ink is `height` pixels high, which is meant of the median of the alphabet.

    Args:
        text: visible characters, at least one.
        font: one of `FONTS`.
        height: in pixels of the page.
        alphabet: the characters whose median height is meant.

    Raises:
        ValueError: if the font has no ink for a character.
    """
    loaded = _font(font, STEPS * height / relative_height(font, alphabet))
    pen, placed = 0.0, []
    for character in text:
        left, top, right, bottom = loaded.getbbox(character, anchor="ls")
        start = round(pen)
        placed.append((start, start + left, top, start + right, bottom))
        pen += loaded.getlength(character)
    left, top = min(each[1] for each in placed), min(each[2] for each in placed)
    right, bottom = max(each[3] for each in placed), max(each[4] for each in placed)
    ink = Pillow.new("L", (int(right - left), int(bottom - top)))
    pencil = ImageDraw.Draw(ink)
    for character, (start, *_) in zip(text, placed, strict=True):
        pencil.text((start - left, -top), character, fill=255, font=loaded, anchor="ls")
    boxes = (Box(*(side / STEPS for side in (x - left, y - top, r - left, b - top))) for _, x, y, r, b in placed)
    return Line(ink, tuple(boxes))


@cache
def relative_height(font: FontName, alphabet: str) -> float:
    """The median height of the alphabet's ink in a font of size 1.

    Raises:
        ValueError: if the font has no ink for a character.
    """
    loaded, heights = _font(font, MEASURED), []
    missing = _ink(loaded, "\uffff")
    for character in alphabet:
        found = _ink(loaded, character)
        if found.size == 0 or np.array_equal(found, missing):
            raise ValueError(f"the font {font} cannot print {character!r} of the alphabet: leave out one of the two")
        heights.append(len(found))
    return median(heights) / MEASURED


def _ink(font: Font, character: str) -> np.ndarray:
    """The ink of a character, without blank borders; empty if there is none."""
    mask = font.getmask(character, mode="L")
    ink = np.array(mask, dtype=np.uint8).reshape(mask.size[::-1])
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else ink[:0]


@cache
def _font(name: FontName, size: float) -> Font:
    if name not in FILES:
        return ImageFont.load_default(size)
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / f"{FILES[name]}.ttf", size)

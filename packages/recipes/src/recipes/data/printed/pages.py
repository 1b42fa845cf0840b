"""Draw pages of printed text: several lines, many fonts, noise, slight turns."""

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFilter, ImageFont
from PIL.Image import Image

from foveal.models import Turn
from recipes.data.pages import QUESTION, Page
from recipes.data.printed.fonts import TRAINING, faces, font_of
from recipes.data.printed.texts import line, price

Colour = np.ndarray[tuple[int], np.dtype[np.float32]]
EASY_SIZE = 14
"""Font size of the first pages, in pixels."""
EASY_CHARACTERS = 3
"""Longest line of the first pages."""
SINGLE = 0.2
"""Difficulty up to which pages have a single line: letters are learnt sooner from short texts, and at less cost."""


@dataclass(frozen=True)
class PrintedSettings:
    """How pages of printed text look at the end of the curriculum.

    Attributes:
        fonts: Debian packages of fonts, see docs/reader.md; `matplotlib` stands for the fonts that come with it.
        font_sizes: smallest and largest font size in pixels.
        lines: most lines of a page.
        characters: most characters of a line.
        area: largest area of a page in pixels; a page with more text gets fewer lines.
        turn: largest turn in degrees, to either side.
        noise: largest standard deviation of the noise, of 255.
    """

    fonts: tuple[str, ...] = TRAINING
    font_sizes: tuple[int, int] = (11, 32)
    lines: int = 4
    characters: int = 50
    area: int = 40_000
    turn: float = 2.5
    noise: float = 14.0

    def __post_init__(self) -> None:
        low, high = self.font_sizes
        if not 4 <= low <= high:
            raise ValueError(f"font_sizes: the smallest is at least 4 and at most the largest, not {low} and {high}")
        if min(self.lines, self.characters) < 1 or min(self.turn, self.noise) < 0:
            raise ValueError("lines and characters are at least 1, turn and noise at least 0")
        if self.area < (least := 32 * high * high):
            raise ValueError(f"area {self.area} has no room for a line of {high} pixels: it is at least {least}")

    def draw(self, seed: int, index: int, *, progress: float = 1.0) -> Page:
        """Page number `index` of the stream `seed`; the same arguments give the same page.

        The answer is the text, line by line. At `progress` 0 a page has one short number in one font, in the same
        place; towards 1 there are more lines, characters, fonts, sizes, margins, noise and turns. In between, easy and
        hard pages are mixed.

        Args:
            seed: seed of the stream.
            index: number of the page in the stream.
            progress: 0 (easiest) to 1 (full difficulty, as in these settings).

        Raises:
            ValueError: if fonts are not installed.
        """
        rng = random.Random(f"{seed}/{index}")
        difficulty = rng.uniform(max(0.0, 2 * progress - 1), min(1.0, 2 * progress))
        font = font_of(_face(self, rng, difficulty), _size(self, rng, difficulty))
        return print_rows(_rows(self, rng, difficulty), font, self, rng, difficulty)


@dataclass(frozen=True)
class Row:
    """A printed line: what stands at the left, and what at the right end of the page (or nothing)."""

    left: str
    right: str = ""

    @property
    def text(self) -> str:
        return f"{self.left} {self.right}".strip()


def print_rows(
    rows: Sequence[Row],
    font: ImageFont.FreeTypeFont,
    settings: PrintedSettings,
    rng: random.Random,
    difficulty: float = 1.0,
) -> Page:
    """A page with these rows; those for which there is no room are left out of the answer too.

    Args:
        rows: at least one; if not even the first has room, half of it is printed.
        font: of all rows.
        settings: how the page looks, apart from its text and font.
        rng: where chance comes from.
        difficulty: how much of the margins, noise and turns of `settings` there may be, 0 to 1.
    """
    while True:
        page, kept = _laid_out(rows, font, rng, difficulty, settings.area)
        if kept:
            break
        rows = [Row(rows[0].left[: max(1, len(rows[0].left) // 2)].strip())]
    page = _worn(page, settings, rng, difficulty)
    return Page(page, (Turn("user", QUESTION), Turn("assistant", "\n".join(row.text for row in kept))))


def _face(settings: PrintedSettings, rng: random.Random, difficulty: float) -> Path:
    """Any of the first fonts; the more difficult, the more fonts. Their order says nothing about the fonts."""
    files = list(faces(settings.fonts))
    random.Random(0).shuffle(files)
    return files[rng.randrange(1 + int(difficulty * (len(files) - 1)))]


def _size(settings: PrintedSettings, rng: random.Random, difficulty: float) -> int:
    """Small sizes are more frequent than large ones."""
    low, high = settings.font_sizes
    return round(EASY_SIZE + difficulty * (low + (high - low) * rng.random() ** 2 - EASY_SIZE))


def _rows(settings: PrintedSettings, rng: random.Random, difficulty: float) -> list[Row]:
    most = round(EASY_CHARACTERS + difficulty * (settings.characters - EASY_CHARACTERS))
    number = 1 + int(max(0.0, difficulty - SINGLE) / (1 - SINGLE) * rng.random() * settings.lines)
    columns = number > 1 and rng.random() < 0.3
    rows = []
    for _ in range(number):
        text = line(rng, max(1, most // 2) if columns else most, difficulty)
        rows.append(Row(text, price(rng)) if columns and rng.random() < 0.8 else Row(text))
    return rows


def _laid_out(
    rows: Sequence[Row], font: ImageFont.FreeTypeFont, rng: random.Random, difficulty: float, area: int
) -> tuple[Image, Sequence[Row]]:
    """Ink on a page, mode L, 255 where the ink is; and the rows for which there is room, from the first."""
    height = font.size * (1.15 + difficulty * rng.uniform(-0.05, 0.6))
    space = font.getlength(" ")
    widths = [(font.getlength(row.left), font.getlength(row.right)) for row in rows]
    inner = max(left + right + (3 * space if right else 0) for left, right in widths)
    inner *= 1 + difficulty * max(0.0, rng.uniform(-0.5, 0.5)) * bool(len(rows) > 1)
    left, top, right, bottom = (3 + difficulty * font.size * rng.uniform(0, 1.5) * rng.random() for _ in range(4))
    width = int(left + inner + right)
    room = int((area / width - top - bottom) / height)
    kept = rows[: max(0, min(len(rows), room))]
    ink = Pillow.new("L", (width, max(1, int(top + height * len(kept) + bottom))))
    drawing = ImageDraw.Draw(ink)
    aligned = rng.choice((0.0, 0.0, 0.0, 0.5, 1.0))
    for number, (row, (used, priced)) in enumerate(zip(kept, widths, strict=False)):
        x = left + (0 if row.right else aligned * (inner - used))
        y = top + height * number
        drawing.text((x, y), row.left, fill=255, font=font)
        if row.right:
            drawing.text((left + inner - priced, y), row.right, fill=255, font=font)
    return ink, kept


def _worn(ink: Image, settings: PrintedSettings, rng: random.Random, difficulty: float) -> Image:
    """The page as a camera or a scanner would give it: turned, coloured, blurred, noisy, compressed."""
    if turn := difficulty * settings.turn * rng.choice((0.0, rng.uniform(-1, 1))):
        ink = ink.rotate(turn, resample=Pillow.Resampling.BICUBIC, expand=True)
    if rng.random() < 0.3 * difficulty:
        ink = ink.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    noise = np.random.default_rng(rng.getrandbits(32))
    paper, colour = _colours(rng, difficulty)
    share = np.asarray(ink, dtype=np.float32)[..., None] / 255
    pixels = paper + share * (colour - paper)
    if rng.random() < 0.2 * difficulty:
        # Light from one side.
        pixels *= np.linspace(rng.uniform(0.7, 1), 1, ink.width, dtype=np.float32)[None, :, None]
    if rng.random() < 0.5 * difficulty:
        shape = (*pixels.shape[:2], rng.choice((1, 3)))
        pixels = pixels + noise.standard_normal(shape, dtype=np.float32) * settings.noise * rng.random()
    page = Pillow.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.2 * difficulty:
        stream = io.BytesIO()
        page.save(stream, "JPEG", quality=rng.randint(35, 90))
        page = Pillow.open(stream).convert("RGB")
    return page


def _colours(rng: random.Random, difficulty: float) -> tuple[Colour, Colour]:
    """Paper and ink, [3] each, of 0 to 255, with enough contrast to read; sometimes light on dark."""
    if rng.random() >= 0.6 * difficulty:
        return np.full(3, 255, np.float32), np.zeros(3, np.float32)
    paper = np.array([rng.uniform(170, 255)] * 3, np.float32)
    ink = np.array([rng.uniform(0, 90)] * 3, np.float32)
    if rng.random() < 0.4:
        paper = np.array([rng.uniform(150, 255) for _ in range(3)], np.float32)
        ink = np.array([rng.uniform(0, 110) for _ in range(3)], np.float32)
    return (ink, paper) if rng.random() < 0.15 else (paper, ink)

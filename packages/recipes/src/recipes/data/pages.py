"""Pages of text made on the fly: nothing to download, and answers that can only be found by reading."""

import random
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from PIL.Image import Image

from foveal.models import Turn

QUESTION = "<image>\nRead."
LINE_QUESTION = "Read line {}."
_MEASURE = ImageDraw.Draw(Pillow.new("RGB", (1, 1)))
"""Measures texts of several lines, which a font alone cannot."""


@dataclass(frozen=True)
class Page:
    """A picture, and questions about it with their answers."""

    image: Image
    turns: tuple[Turn, ...]


class Drawn(Protocol):
    """How pages look."""

    def draw(self, seed: int, index: int, *, progress: float = 1.0) -> Page:
        """Page number `index` of the stream `seed`, at `progress` 0 (easiest) to 1."""


@dataclass(frozen=True)
class PageSettings:
    """How pages look at the end of the curriculum.

    Attributes:
        sizes: (width, height) of pages in pixels; a page grows if its text needs more room.
        font_sizes: smallest and largest font size in pixels.
        digits: fewest and most characters of a word; by default these are the digits of a number.
        easy_size: (width, height) of the first pages, in pixels.
        easy_font_size: font size of the first pages, in pixels.
        characters: what words are made of.
        words: fewest and most words of a line, with spaces between them.
        lines: fewest and most lines of a page; the first pages have one. With more than one line, questions name a
            line: `Read line 2.`
        questions: most questions about a page, each about another line. A validation asks the first one.
    """

    sizes: tuple[tuple[int, int], ...] = (
        (32, 32),
        (40, 24),
        (48, 16),
        (64, 16),
        (64, 32),
        (32, 64),
        (96, 32),
        (32, 96),
    )
    font_sizes: tuple[int, int] = (11, 13)
    digits: tuple[int, int] = (1, 4)
    easy_size: tuple[int, int] = (48, 16)
    easy_font_size: int = 12
    characters: str = "0123456789"
    words: tuple[int, int] = (1, 1)
    lines: tuple[int, int] = (1, 1)
    questions: int = 1

    def __post_init__(self) -> None:
        if not self.sizes or any(min(size) < 1 for size in (*self.sizes, self.easy_size)):
            raise ValueError(
                f"sizes: at least one is needed, of at least 1x1 pixel, not {self.sizes} and {self.easy_size}"
            )
        for name in ("font_sizes", "digits", "words", "lines"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name}: the smallest is at least 1 and at most the largest, not {low} and {high}")
        if not self.characters.isprintable() or not self.characters or " " in self.characters:
            raise ValueError(f"characters: printable ones are needed, and no space, not {self.characters!r}")
        if not 1 <= self.questions <= self.lines[1]:
            raise ValueError(
                f"questions: at least 1, and at most one for each of {self.lines[1]} lines, not {self.questions}"
            )

    def draw(self, seed: int, index: int, *, progress: float = 1.0) -> Page:
        """See `draw_page`."""
        return draw_page(self, seed, index, progress=progress)


def draw_page(settings: PageSettings, seed: int, index: int, *, progress: float = 1.0) -> Page:
    """Page number `index` of the stream `seed`; the same arguments give the same page.

    The text is somewhere on the page. A model that learns to read from scratch must first find out where to look. So at
    `progress` 0 all pages have the same size and one line, and the text has the same position and font size; towards 1
    all of them vary freely. In between, easy and hard pages are mixed.

    Args:
        settings: how pages look at `progress` 1.
        seed: seed of the stream.
        index: number of the page in the stream.
        progress: 0 (easiest) to 1 (full difficulty, as in `settings`).
    """
    rng = random.Random(f"{seed}/{index}")
    difficulty = rng.uniform(max(0.0, 2 * progress - 1), min(1.0, 2 * progress))

    def between(easy: float, low: float, high: float) -> int:
        return round(easy + difficulty * (rng.uniform(low, high) - easy))

    # Numbers of its own: pages of one word do not change when lines, words and questions are settings too.
    layout = random.Random(f"{seed}/{index}/layout")
    count = round(1 + difficulty * (layout.randint(*settings.lines) - 1))
    lines = [_line(settings, rng, layout) for _ in range(count)]
    text = "\n".join(lines)
    font = _font(between(settings.easy_font_size, *settings.font_sizes))
    left, top, right, bottom = _MEASURE.textbbox((0, 0), text, font=font)
    width, height = rng.choice(settings.sizes) if rng.random() < difficulty else settings.easy_size
    width, height = max(width, int(right - left) + 4), max(height, int(bottom - top) + 4)
    x = between(2, 2, width - (right - left) - 2)
    y = between(2, 2, height - (bottom - top) - 2)
    image = Pillow.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((x - left, y - top), text, fill="black", font=font)
    return Page(image, _turns(settings, lines, layout))


def _line(settings: PageSettings, rng: random.Random, layout: random.Random) -> str:
    words = layout.randint(*settings.words)
    return " ".join("".join(rng.choices(settings.characters, k=rng.randint(*settings.digits))) for _ in range(words))


def _turns(settings: PageSettings, lines: list[str], layout: random.Random) -> tuple[Turn, ...]:
    """Questions with answers; the first one comes with the picture."""
    if settings.lines[1] == 1:
        return Turn("user", QUESTION), Turn("assistant", lines[0])
    asked = layout.sample(range(len(lines)), k=min(settings.questions, len(lines)))
    turns: list[Turn] = []
    for number in asked:
        question = LINE_QUESTION.format(number + 1)
        turns += Turn("user", question if turns else f"<image>\n{question}"), Turn("assistant", lines[number])
    return tuple(turns)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

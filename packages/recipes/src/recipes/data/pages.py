"""Pages of text made on the fly: nothing to download, and answers that can only be found by reading."""

import random
from dataclasses import dataclass
from functools import cache

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from PIL.Image import Image

from foveal.models import Turn

QUESTION = "<image>\nRead."
DIGITS = "0123456789"


@dataclass(frozen=True)
class Page:
    """A picture, and a question about it with its answer."""

    image: Image
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class PageSettings:
    """How pages look at the end of the curriculum.

    Attributes:
        sizes: (width, height) of pages in pixels; a page grows if its number needs more room.
        font_sizes: smallest and largest font size in pixels.
        digits: fewest and most digits of a number.
        easy_size: (width, height) of the first pages, in pixels.
        easy_font_size: font size of the first pages, in pixels.
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

    def __post_init__(self) -> None:
        if not self.sizes or any(min(size) < 1 for size in (*self.sizes, self.easy_size)):
            raise ValueError(
                f"sizes: at least one is needed, of at least 1x1 pixel, not {self.sizes} and {self.easy_size}"
            )
        for name in ("font_sizes", "digits"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name}: the smallest is at least 1 and at most the largest, not {low} and {high}")


def draw_page(settings: PageSettings, seed: int, index: int, *, progress: float = 1.0) -> Page:
    """Page number `index` of the stream `seed`; the same arguments give the same page.

    A number is somewhere on the page. A model that learns to read from scratch must first find out where to look. So at
    `progress` 0 all pages have the same size, and the number has the same position and font size; towards 1 all of
    them vary freely. In between, easy and hard pages are mixed.

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

    number = "".join(rng.choices(DIGITS, k=rng.randint(*settings.digits)))
    font = _font(between(settings.easy_font_size, *settings.font_sizes))
    left, top, right, bottom = font.getbbox(number)
    width, height = rng.choice(settings.sizes) if rng.random() < difficulty else settings.easy_size
    width, height = max(width, int(right - left) + 4), max(height, int(bottom - top) + 4)
    x = between(2, 2, width - (right - left) - 2)
    y = between(2, 2, height - (bottom - top) - 2)
    image = Pillow.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((x - left, y - top), number, fill="black", font=font)
    return Page(image, (Turn("user", QUESTION), Turn("assistant", number)))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

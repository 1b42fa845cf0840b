"""Pictures that may be decoded at a reduced scale, which saves most of the time that a large JPEG takes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from PIL.Image import Image, Resampling

from foveal.core import Size
from foveal.models.views.read_image import MAX_PIXELS, opened, orientation_of, upright_rgb

SHARPER = {8: 3.0, 4: 2.5, 2: 2.0}
"""By how much both sides may be divided if the rest is so much larger than the sharpest view.

The decoder's own filter is coarser than bicubic: at these ratios, views of receipts and photographs differ by at most 9
grey levels, mostly by less than 6, and by 0.4 on average.
"""


@dataclass(frozen=True)
class Draft:
    """A picture in as many pixels as its views need.

    Attributes:
        image: upright RGB.
        size: size of the whole picture, on which views and tokens depend.
    """

    image: Image
    size: Size

    @classmethod
    def of(cls, image: Image) -> Self:
        """A picture in all its pixels."""
        return cls(image, Size.of(image.size))

    @property
    def mode(self) -> str:
        """The mode of the pixels."""
        return self.image.mode

    def resized(self, size: tuple[int, int]) -> Image:
        """The picture resized to `size`."""
        return self.image.resize(size, Resampling.BICUBIC)


def read_draft(
    source: str | Path | bytes, sharpest: Callable[[Size], Size], *, max_pixels: int = MAX_PIXELS
) -> Image | Draft:
    """Read a picture as upright RGB, a JPEG at a reduced scale if that has all that its views need.

    A JPEG can be decoded at a half, a quarter or an eighth of its size. The smallest that is still at least twice as
    large as the sharpest view (see `SHARPER`) is taken, if its sides are whole numbers: a picture of 4000x3000 pixels
    can have 500x375, one of 4000x3001 is decoded whole. Views differ by a few grey levels.

    Args:
        source: a file or its bytes, as for `read_image`.
        sharpest: maps a picture's size to the size that it has in its sharpest view, see `ViewPlan.sharpest`.
        max_pixels: as for `read_image`.

    Raises:
        BadImageError: as for `read_image`.
        ValueError: as for `sharpest`.
    """
    name = "the given bytes" if isinstance(source, bytes) else str(source)
    with opened(source, name, max_pixels) as picture:
        stored = Size.of(picture.size)
        if picture.format != "JPEG":
            return upright_rgb(picture, name)
        turned = orientation_of(picture, name) in (5, 6, 7, 8)
        size = Size(stored.height, stored.width) if turned else stored
        scale = _scale(size, sharpest(size))
        if scale > 1:
            picture.draft(None, (stored.width // scale, stored.height // scale))
        return Draft(upright_rgb(picture, name), size)


def _scale(size: Size, sharpest: Size) -> int:
    """The largest divisor of `SHARPER` that leaves enough and whole pixels; 1: none."""
    for scale, sharper in SHARPER.items():
        sides = zip(size, sharpest, strict=True)
        if all(whole % scale == 0 and whole // scale >= sharper * part for whole, part in sides):
            return scale
    return 1

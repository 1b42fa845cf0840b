"""A whole page squashed to a large square, with or without a small view for CLIP: Vary."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL.Image import Image

from foveal.core import Box, Size
from foveal.models.views.canvas import sharper, stretched
from foveal.models.views.draft import Draft
from foveal.models.views.plan import DraftPlan, check_size, enclosed
from foveal.models.views.square import CropToSquare


class VaryPlan(DraftPlan):
    """The picture squashed to a square for the vocabulary network (Vary, arXiv 2312.06109, section 3).

    With `crop`, CLIP's view comes first and both views are seen together (Vary-base); without it, this is Vary-tiny's
    plan. In the prompt the picture is enclosed by two texts.

    Args:
        size: side of the squashed view in pixels.
        crop: side of CLIP's view in pixels, a centre crop of the picture; 224 in the paper. None: no such view.
        resample: how the picture is squashed, which must match the weights. `bicubic`: Pillow's, antialiased (Vary-toy,
            the open weights, GOT); `bilinear`: OpenCV's, not antialiased (the original code).
        start: text before the picture, a single token; empty: none.
        end: text after the picture, likewise.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if a side is below 1, `resample` is unknown, or `draft` is used without `bicubic`.
    """

    def __init__(
        self,
        size: int = 1024,
        crop: int | None = None,
        *,
        resample: Literal["bicubic", "bilinear"] = "bicubic",
        start: str = "<img>",
        end: str = "</img>",
        draft: bool = False,
    ) -> None:
        if size < 1 or (crop is not None and crop < 1):
            raise ValueError(f"a view's size must be at least 1 pixel, not size {size} and crop {crop}")
        if resample not in ("bicubic", "bilinear"):
            raise ValueError(f"resample must be 'bicubic' or 'bilinear', not {resample!r}")
        if draft and resample != "bicubic":
            raise ValueError("draft needs resample bicubic: without antialiasing, single pixels of the picture matter")
        self.size, self.crop, self.resample, self.start, self.end = size, crop, resample, start, end
        self.draft = draft
        self.inputs = 1 if crop is None else 2

    def views(self, picture: Size) -> tuple[Size, ...]:
        check_size(picture)
        squashed = Size(self.size, self.size)
        return (squashed,) if self.crop is None else (Size(self.crop, self.crop), squashed)

    def layout(self, picture: Size) -> tuple[int | str, ...]:
        check_size(picture)
        return enclosed(self.start, (0,), self.end)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        check_size(picture)
        whole = Box.whole(picture)
        return (whole,) if self.crop is None else (*CropToSquare(self.crop).regions(picture), whole)

    def cut_draft(self, picture: Draft) -> list[Image]:
        check_size(picture.size)
        size = Size(self.size, self.size)
        squashed = stretched(picture, size) if self.resample == "bicubic" else _unsmoothed(picture.image, size)
        return [squashed] if self.crop is None else [*CropToSquare(self.crop).cut_draft(picture), squashed]

    def sharpest(self, picture: Size) -> Size:
        whole = Size(self.size, self.size)
        return whole if self.crop is None else sharper(whole, CropToSquare(self.crop).sharpest(picture))


def _unsmoothed(image: Image, size: Size) -> Image:
    """The picture resized to `size` without antialiasing: every pixel is interpolated from its four nearest only."""
    source = np.asarray(image)
    columns, column_weights = _two_nearest(image.width, size.width)
    rows, row_weights = _two_nearest(image.height, size.height)
    # OpenCV interpolates with integers and truncates bits in between; exact fractions would sometimes come out one
    # level higher.
    total = np.full((size.height, size.width, 3), 2, dtype=np.int32)
    for row, row_weight in zip(rows, row_weights, strict=True):
        mixed = np.zeros_like(total)
        for column, weight in zip(columns, column_weights, strict=True):
            mixed += source[row[:, None], column] * weight[:, None]
        total += (mixed >> 4) * row_weight[:, None, None] >> 16
    return Pillow.fromarray((total >> 2).astype(np.uint8))


def _two_nearest(length: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Along one side, indices [2, wanted] of the pixels that each new pixel is made of, and their weights in 1/2048."""
    places = ((np.arange(wanted) + 0.5) * (length / wanted) - 0.5).astype(np.float32)
    first = np.floor(places)
    share = places - first
    indices = np.stack((first, first + 1)).astype(np.int64).clip(0, length - 1)
    return indices, np.rint(np.stack((1 - share, share)) * 2048).astype(np.int32)

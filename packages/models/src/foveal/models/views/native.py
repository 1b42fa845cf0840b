"""One view in nearly the picture's own resolution and aspect ratio."""

from math import ceil, floor, sqrt

from PIL.Image import Image

from foveal.core import Box, Size
from foveal.models.views.canvas import stretched
from foveal.models.views.draft import Draft
from foveal.models.views.plan import DraftPlan, check_size, enclosed
from foveal.models.views.square import LARGEST_CANVAS

LARGEST_RATIO = 200
"""Of a picture's sides; the reference refuses more, too."""


class NativePlan(DraftPlan):
    """The whole picture, with sides rounded to multiples of `cell` and resized only if it is too small or too large.

    From Qwen2-VL (arXiv 2409.12191, section 2.1; `smart_resize` in its code); the defaults are Qwen3-VL's.

    Args:
        cell: pixels along one side of what becomes one token: a patch times the patches merged along that side.
        min_pixels: a smaller picture is enlarged, up to rounding.
        max_pixels: a larger picture is reduced, up to rounding; if a side would be shorter than `cell`, it is that
            long, and the view may have more pixels.
        start: text before the view, a single token; empty: none.
        end: text after it, likewise.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if a setting is below 1, `min_pixels` above `max_pixels`, or a view could have more pixels than a
            canvas may have.
    """

    def __init__(
        self,
        cell: int = 32,
        min_pixels: int = 64 * 32 * 32,
        max_pixels: int = 16384 * 32 * 32,
        *,
        start: str = "<|vision_start|>",
        end: str = "<|vision_end|>",
        draft: bool = False,
    ) -> None:
        if cell < 1 or not 1 <= min_pixels <= max_pixels <= LARGEST_CANVAS:
            raise ValueError(
                f"cell {cell} must be at least 1, min_pixels {min_pixels} at least 1 and at most max_pixels "
                f"{max_pixels}, and that at most {LARGEST_CANVAS}"
            )
        self.cell, self.min_pixels, self.max_pixels = cell, min_pixels, max_pixels
        self.start, self.end, self.draft = start, end, draft

    def views(self, picture: Size) -> tuple[Size, ...]:
        check_size(picture)
        if max(picture) > LARGEST_RATIO * min(picture):
            raise ValueError(f"a picture of {picture} pixels is more than {LARGEST_RATIO} times as long as it is wide")
        view = Size(*(round(side / self.cell) * self.cell for side in picture))
        if view.area > self.max_pixels:
            shrink = sqrt(picture.area / self.max_pixels)
            return (Size(*(max(self.cell, floor(side / shrink / self.cell) * self.cell) for side in picture)),)
        if view.area < self.min_pixels:
            enlarge = sqrt(self.min_pixels / picture.area)
            return (Size(*(ceil(side * enlarge / self.cell) * self.cell for side in picture)),)
        return (view,)

    def layout(self, picture: Size) -> tuple[int | str, ...]:
        return enclosed(self.start, (0,), self.end)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        self.views(picture)
        return (Box.whole(picture),)

    def cut_draft(self, picture: Draft) -> list[Image]:
        return [stretched(picture, self.views(picture.size)[0])]

    def sharpest(self, picture: Size) -> Size:
        return self.views(picture)[0]

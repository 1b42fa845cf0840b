"""The whole picture at about its own resolution: LLaVA-UHD v3."""

from math import sqrt

from PIL.Image import Image

from foveal.core import Box, Size
from foveal.models.views.canvas import stretched
from foveal.models.views.draft import Draft
from foveal.models.views.plan import DraftPlan, check_size


class UhdV3Plan(DraftPlan):
    """One view of the whole picture, without slices (LLaVA-UHD v3, arXiv 2511.21150; released code).

    Pictures keep their aspect ratio to within one step of `multiple`. What is small is enlarged, since more patches
    show more detail even of few pixels; what is large is made smaller, to `resolution`.

    Args:
        multiple: both sides are rounded down to multiples of this many pixels: the encoder's patch, times 2 for each of
            its compressions.
        resolution: side in pixels of the largest square that a picture may have the area of.
        smallest: side in pixels of the smallest square that a picture may have the area of.
        longest: longest side in pixels; at most the 512 patches of the reference's table of rotations.
        enlarge: factor of both sides of a picture with at most the area of `resolution`, before anything else.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if the sizes do not ascend (`multiple`, `smallest`, `resolution`, `longest`), or `enlarge` is not
            positive.
    """

    def __init__(
        self,
        multiple: int = 40,
        resolution: int = 1560,
        *,
        smallest: int = 512,
        longest: int = 5120,
        enlarge: float = 1.4,
        draft: bool = False,
    ) -> None:
        if not 1 <= multiple <= smallest <= resolution <= longest or enlarge <= 0:
            raise ValueError(
                f"sizes must ascend from 1: multiple {multiple}, smallest {smallest}, resolution {resolution}, longest "
                f"{longest}; and enlarge {enlarge} must be above 0"
            )
        self.multiple, self.resolution, self.smallest, self.longest = multiple, resolution, smallest, longest
        self.enlarge, self.draft = enlarge, draft

    def views(self, picture: Size) -> tuple[Size, ...]:
        check_size(picture)
        return (self._fit(picture),)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        check_size(picture)
        return (Box.whole(picture),)

    def cut_draft(self, picture: Draft) -> list[Image]:
        return [stretched(picture, self._fit(picture.size))]

    def sharpest(self, picture: Size) -> Size:
        return self._fit(picture)

    def _fit(self, picture: Size) -> Size:
        """The size of the view; the truncations follow the reference's order, another order gives other sizes."""
        width, height = map(float, picture)
        if picture.area <= self.resolution**2:
            width, height = width * self.enlarge, height * self.enlarge
        ratio = width / height
        if width * height > self.resolution**2:
            width, height = _of_area(self.resolution, ratio)
        if width * height < self.smallest**2:
            width, height = _of_area(self.smallest, ratio)
        if max(width, height) > self.longest:
            scale = self.longest / max(width, height)
            width, height = int(width * scale), int(height * scale)
        step = self.multiple
        return Size(*(max(int(side // step) * step, step) for side in (width, height)))


def _of_area(side: int, ratio: float) -> tuple[int, int]:
    """Width and height with the area of a square of this side, and about this ratio."""
    height = int(side / sqrt(ratio))
    return int(height * ratio), height

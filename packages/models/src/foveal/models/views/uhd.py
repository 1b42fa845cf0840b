"""Slices of variable size, plus an overview: LLaVA-UHD."""

from math import ceil, inf, log, sqrt
from typing import Literal

from PIL.Image import Image

from foveal.core import Box, Grid, Size
from foveal.models.views.canvas import pieces_of, sharper
from foveal.models.views.draft import Draft
from foveal.models.views.plan import DraftPlan, check_size

EXTREME_RATIO = 200.0


def slice_grid(picture: Size, scale: int, max_slices: int) -> Grid | None:
    """Rows and columns of the slices of a picture (LLaVA-UHD, arXiv 2403.11703, equation 1); None: it is not cut.

    Args:
        picture: size of the picture.
        scale: side in pixels of the square whose area every slice approximates.
        max_slices: maximum number of slices.
    """
    wanted = min(ceil(picture.area / (scale * scale)), max_slices)
    if wanted <= 1:
        return None
    best, least = None, inf
    for count in (wanted - 1, wanted, wanted + 1):
        if count == 1 or count > max_slices:
            continue
        for columns in (divisor for divisor in range(1, count + 1) if count % divisor == 0):
            rows = count // columns
            # The last bit of exactly this expression decides ties, as in the reference.
            error = abs(log(picture.width / picture.height) - log(columns / rows))
            if error < least:
                best, least = Grid(rows, columns), error
    return best


def sliced_size(grid: Grid, each: Size) -> Size:
    """The size of a picture that is cut into a grid of slices of size `each`."""
    return Size(grid.columns * each.width, grid.rows * each.height)


def slices_of(picture: Draft, grid: Grid, each: Size) -> list[Image]:
    """The slices of a picture row by row; it is resized as a whole and then cut, so that there are no seams."""
    return pieces_of(picture.resized(sliced_size(grid, each)), each)


class UhdPlan(DraftPlan):
    """Cut a picture of any shape into slices near the encoder's native size (LLaVA-UHD, arXiv 2403.11703, section 3.1).

    The area determines the number of slices; among all grids with about that number, the one whose slices are closest
    to square wins (equation 1). Slices and overview keep their aspect ratio to within one patch and are not padded. A
    picture no larger than one slice is a single view. In the prompt a comma follows each slice and a newline each row;
    the overview comes last (section 3.3).

    Where the paper and the released code differ, this follows the release; `max_slices` is 6 in the paper and 7 in the
    release.

    Args:
        scale: side in pixels of the square whose area every view approximates.
        patch: the views' sides are rounded down to multiples of this many pixels.
        max_slices: maximum number of slices of a picture.
        overview: position of the overview: after the slices or before them.
        overview_only: cut no slices (stage 1).
        separators: put comma and newline tokens between views.
        long_side: first resize the picture so that its longer side has this many pixels (1024 in the release's
            evaluation); null: do not resize.
        clamp_ratio: treat aspect ratios beyond 200:1 as 200:1. Otherwise, as in the reference, their views have more
            patches than the encoder was made for, or none of their content.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if `scale` is below `patch`, `max_slices` or `long_side` is below 1, or `overview` is unknown.
    """

    def __init__(
        self,
        scale: int = 336,
        patch: int = 14,
        max_slices: int = 6,
        *,
        overview: Literal["last", "first"] = "last",
        overview_only: bool = False,
        separators: bool = True,
        long_side: int | None = None,
        clamp_ratio: bool = True,
        draft: bool = False,
    ) -> None:
        if patch < 1 or scale < patch or max_slices < 1:
            raise ValueError(
                f"scale {scale} must be at least the patch {patch}, and max_slices {max_slices} at least 1"
            )
        if overview not in ("last", "first"):
            raise ValueError(f"the overview must come 'last' or 'first', not {overview!r}")
        if long_side is not None and long_side < 1:
            raise ValueError(f"long_side must be at least 1 pixel, not {long_side}")
        self.scale, self.patch, self.max_slices = scale, patch, max_slices
        self.overview, self.overview_only, self.separators = overview, overview_only, separators
        self.long_side, self.clamp_ratio, self.draft = long_side, clamp_ratio, draft

    def grid(self, picture: Size) -> Grid | None:
        """Rows and columns of the slices of a picture; None: it is not cut."""
        return None if self.overview_only else slice_grid(picture, self.scale, self.max_slices)

    def views(self, picture: Size) -> tuple[Size, ...]:
        """Slices row by row and the overview, in the order of the prompt."""
        check_size(picture)
        picture = self._resized(picture)
        grid = self.grid(picture)
        overview = self._fit(*picture, enlarge=grid is None)
        if grid is None:
            return (overview,)
        slices = [self._slice(picture, grid)] * grid.cells
        return (*slices, overview) if self.overview == "last" else (overview, *slices)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        check_size(picture)
        grid, whole = self.grid(self._resized(picture)), Box.whole(picture)
        if grid is None:
            return (whole,)
        slices = whole.cells(grid)
        return (*slices, whole) if self.overview == "last" else (whole, *slices)

    def layout(self, picture: Size) -> tuple[int | str, ...]:
        check_size(picture)
        grid = self.grid(self._resized(picture))
        if grid is None or not self.separators:
            return super().layout(picture)
        first = 0 if self.overview == "last" else 1
        order: list[int | str] = []
        for number in range(grid.cells):
            order += [first + number, "\n" if (number + 1) % grid.columns == 0 else ","]
        return (*order, grid.cells) if self.overview == "last" else (0, *order)

    def cut_draft(self, picture: Draft) -> list[Image]:
        size = self._resized(picture.size)
        if size != picture.size:
            picture = Draft.of(picture.resized(size))
        grid = self.grid(size)
        overview = picture.resized(self._fit(*size, enlarge=grid is None))
        if grid is None:
            return [overview]
        slices = slices_of(picture, grid, self._slice(size, grid))
        return [*slices, overview] if self.overview == "last" else [overview, *slices]

    def sharpest(self, picture: Size) -> Size:
        size = self._resized(picture)
        if size != picture:
            return size
        grid = self.grid(size)
        overview = self._fit(*size, enlarge=grid is None)
        if grid is None:
            return overview
        return sharper(overview, sliced_size(grid, self._slice(size, grid)))

    def _slice(self, picture: Size, grid: Grid) -> Size:
        """The size of one slice."""
        rows, columns = grid
        width, height = max(picture.width // columns * columns, columns), max(picture.height // rows * rows, rows)
        return self._fit(width / columns, height / rows, enlarge=True)

    def _fit(self, width: float, height: float, *, enlarge: bool) -> Size:
        """The size with nearly the same aspect ratio and at most the area scale x scale, in whole patches."""
        if enlarge or width * height > self.scale * self.scale:
            ratio = width / height
            if self.clamp_ratio:
                ratio = min(max(ratio, 1 / EXTREME_RATIO), EXTREME_RATIO)
            # The truncations follow the reference's order; another order gives other sizes.
            height = int(self.scale / sqrt(ratio))
            width = int(height * ratio)
        return Size(*(max(int(side // self.patch) * self.patch, self.patch) for side in (width, height)))

    def _resized(self, picture: Size) -> Size:
        """The picture's size after `long_side` is applied."""
        if self.long_side is None:
            return picture
        width, height = picture
        if width > height:
            return Size(self.long_side, max(1, int((self.long_side / width) * height)))
        return Size(max(1, int((self.long_side / height) * width)), self.long_side)

"""Slices of variable size between marks, after an overview: MiniCPM-V."""

from math import sqrt

from PIL.Image import Image

from foveal.core import Box, Grid, Size
from foveal.models.views.canvas import sharper
from foveal.models.views.draft import Draft
from foveal.models.views.plan import DraftPlan, check_size
from foveal.models.views.uhd import EXTREME_RATIO, slice_grid, sliced_size, slices_of

MARKS = ("<image_id>", "</image_id>", "<image>", "</image>", "<slice>", "</slice>")
"""The tokens that the plan needs besides digits and the newline."""


class MiniCpmPlan(DraftPlan):
    """Cut a picture into slices as LLaVA-UHD does, each in whole cells of the language model's tokens (MiniCPM-V, arXiv
    2408.01800, section 3.2; transformers' MiniCPMV4_6ImageProcessorPil and MiniCPMV4_6Processor).

    Views keep their aspect ratio to within half a cell; aspect ratios beyond 200:1 are treated as 200:1, where the
    reference has ever more patches. In the prompt the overview comes first, between `<image>` and
    `</image>`, then the slices row by row, each between `<slice>` and `</slice>`, with a newline between rows. Before
    them is the number of the picture in the conversation, `<image_id>0</image_id>`.

    Args:
        scale: side in pixels of the square whose area every view approximates.
        cell: sides of the views are rounded to multiples of this many pixels, those of one token: 14 for a patch times
            4 for two merges of 2x2.
        max_slices: maximum number of slices of a picture; 1: it is never cut.
        image_ids: put the picture's number before it.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if `scale` is below `cell`, or `cell` or `max_slices` is below 1.
    """

    def __init__(
        self, scale: int = 448, cell: int = 56, max_slices: int = 9, *, image_ids: bool = True, draft: bool = False
    ) -> None:
        if cell < 1 or scale < cell or max_slices < 1:
            raise ValueError(f"scale {scale} must be at least the cell {cell}, and max_slices {max_slices} at least 1")
        self.scale, self.cell, self.max_slices = scale, cell, max_slices
        self.image_ids, self.draft = image_ids, draft

    def grid(self, picture: Size) -> Grid | None:
        """Rows and columns of the slices of a picture; None: it is not cut."""
        check_size(picture)
        return slice_grid(picture, self.scale, self.max_slices)

    def views(self, picture: Size) -> tuple[Size, ...]:
        grid = self.grid(picture)
        overview = self._fit(*picture)
        return (overview,) if grid is None else (overview, *[self._slice(picture, grid)] * grid.cells)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        grid, whole = self.grid(picture), Box.whole(picture)
        return (whole,) if grid is None else (whole, *whole.cells(grid))

    def layout(self, picture: Size) -> tuple[int | str, ...]:
        grid = self.grid(picture)
        order: list[int | str] = ["<image>", 0, "</image>"]
        for number in range(grid.cells if grid else 0):
            if grid and number and number % grid.columns == 0:
                order.append("\n")
            order += ["<slice>", 1 + number, "</slice>"]
        return tuple(order)

    def before(self, number: int) -> tuple[str, ...]:
        return ("<image_id>", *str(number), "</image_id>") if self.image_ids else ()

    def cut_draft(self, picture: Draft) -> list[Image]:
        grid = self.grid(picture.size)
        overview = picture.resized(self._fit(*picture.size))
        slices = [] if grid is None else slices_of(picture, grid, self._slice(picture.size, grid))
        return [overview, *slices]

    def sharpest(self, picture: Size) -> Size:
        grid = self.grid(picture)
        overview = self._fit(*picture)
        return overview if grid is None else sharper(overview, sliced_size(grid, self._slice(picture, grid)))

    def _slice(self, picture: Size, grid: Grid) -> Size:
        """The size of one slice."""
        width, height = _multiple(picture.width, grid.columns), _multiple(picture.height, grid.rows)
        return self._fit(width / grid.columns, height / grid.rows)

    def _fit(self, width: float, height: float) -> Size:
        """The size with nearly the same aspect ratio and about the area scale x scale, in whole cells."""
        ratio = min(max(width / height, 1 / EXTREME_RATIO), EXTREME_RATIO)
        # The truncations follow the reference's order; another order gives other sizes.
        down = int(self.scale / sqrt(ratio))
        return Size(_multiple(int(down * ratio), self.cell), _multiple(down, self.cell))


def _multiple(length: float, unit: int) -> int:
    """The multiple of `unit` nearest to a length, at least one; halves are rounded to even numbers of units."""
    return max(round(length / unit) * unit, unit)

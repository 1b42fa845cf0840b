"""A small and an enlarged version of a picture, stretched alike so that positions agree: DeepStack."""

from math import isqrt

from PIL.Image import Image

from foveal.core import Box, Grid, Size
from foveal.models.views.anyres import best_canvas
from foveal.models.views.canvas import (
    canvas_of,
    centred,
    check_canvas,
    fitted_canvas,
    sharper,
    stretched,
    tiles_of,
)
from foveal.models.views.draft import Draft
from foveal.models.views.plan import DraftPlan, check_size


class DeepStackPlan(DraftPlan):
    """The picture stretched to one view, then its crops after stretching it to a grid (arXiv 2406.04334, section 3.2).

    The grid has at most `crops` crops, in the shape that fits the picture best by the rule of `AnyResPlan`, and never a
    single one: a picture of at most one view's size becomes two crops, one above the other. A position in the small
    view and the crops' cells at that position show the same part of the picture.

    Args:
        size: side of every view in pixels, the encoder's native size.
        crops: maximum number of crops of a picture; the paper's models use 4.
        square: always cut `crops` crops in a square, whatever the picture's aspect ratio.
        keep_aspect: keep the aspect ratio of the enlarged picture and pad it with black, so that positions no longer
            agree (the ablation of table 5).
        together: all views form one set, for an encoder that stacks the crops itself (DeepStack-V, section 3.3).
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if `size` is below 1, `crops` is below 2 or, with `square`, not a square number, the crops have more
            pixels than a canvas may have, or `together` is used without `square`.
    """

    def __init__(
        self,
        size: int = 336,
        crops: int = 4,
        *,
        square: bool = False,
        keep_aspect: bool = False,
        together: bool = False,
        draft: bool = False,
    ) -> None:
        if crops < 2:
            raise ValueError(f"a picture must be cut into at least 2 crops, not {crops}")
        check_canvas(crops, size)
        if square and isqrt(crops) ** 2 != crops:
            raise ValueError(f"{crops} crops do not form a square: use a square number, or square=False")
        if together and not square:
            raise ValueError("together needs square: all pictures must have the same number of views seen together")
        self.size, self.crops, self.draft = size, crops, draft
        self.square, self.keep_aspect, self.together = square, keep_aspect, together
        self.inputs = 1 + crops if together else 1

    def grid(self, picture: Size) -> Grid:
        """Rows and columns of the crops of a picture."""
        check_size(picture)
        if self.square:
            return Grid(isqrt(self.crops), isqrt(self.crops))
        return _best_grid(picture, self.crops, self.size)

    def views(self, picture: Size) -> tuple[Size, ...]:
        return (Size(self.size, self.size),) * (1 + self.grid(picture).cells)

    def tile_grid(self, picture: Size) -> Grid | None:
        return None if self.together else self.grid(picture)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        grid, whole = self.grid(picture), Box.whole(picture)
        canvas = fitted_canvas(picture, canvas_of(grid, self.size)) if self.keep_aspect else whole
        return (whole, *canvas.cells(grid))

    def cut_draft(self, picture: Draft) -> list[Image]:
        canvas = canvas_of(self.grid(picture.size), self.size)
        enlarged = centred(picture, canvas) if self.keep_aspect else stretched(picture, canvas)
        return [stretched(picture, Size(self.size, self.size)), *tiles_of(enlarged, self.size)]

    def sharpest(self, picture: Size) -> Size:
        # With `keep_aspect` the picture is smaller than its canvas, which costs little.
        return sharper(canvas_of(self.grid(picture), self.size), Size(self.size, self.size))


class DeepStackHdPlan(DraftPlan):
    """The views of `DeepStackPlan`, then each of them enlarged and cut again: DeepStack-L-HD (released code).

    First come the small view and its crops, then the whole picture in u x u crops, then the u x u parts of every crop,
    crop by crop, row by row. u is the square root of `crops`, rounded down.

    Args:
        size: side of every view in pixels, the encoder's native size.
        crops: maximum number of crops of a picture.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if `size` is below 1, `crops` below 4 (nothing would be enlarged), or the enlarged crops have more
            pixels than a canvas may have.
    """

    def __init__(self, size: int = 336, crops: int = 4, *, draft: bool = False) -> None:
        if crops < 4:
            raise ValueError(f"a view must be enlarged to at least 4 crops, not {crops}: DeepStackPlan takes fewer")
        check_canvas(crops * isqrt(crops) ** 2, size)
        self.size, self.crops, self.draft = size, crops, draft

    def views(self, picture: Size) -> tuple[Size, ...]:
        sets = 1 + self.tile_grid(picture).cells
        return (Size(self.size, self.size),) * (sets * (1 + isqrt(self.crops) ** 2))

    def tile_grid(self, picture: Size) -> Grid:
        check_size(picture)
        return _best_grid(picture, self.crops, self.size)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        whole, parts = Box.whole(picture), Grid(isqrt(self.crops), isqrt(self.crops))
        crops = whole.cells(self.tile_grid(picture))
        return (whole, *crops, *(part for box in (whole, *crops) for part in box.cells(parts)))

    def cut_draft(self, picture: Draft) -> list[Image]:
        tiles = self.tile_grid(picture.size)
        side, large = self.size, self.size * isqrt(self.crops)
        crops = tiles_of(stretched(picture, canvas_of(tiles, side)), side)
        wholes = [
            stretched(picture, Size(large, large)),
            *tiles_of(stretched(picture, canvas_of(tiles, large)), large),
        ]
        small = stretched(picture, Size(side, side))
        return [small, *crops, *(part for whole in wholes for part in tiles_of(whole, side))]

    def sharpest(self, picture: Size) -> Size:
        return canvas_of(self.tile_grid(picture), self.size * isqrt(self.crops))


def _best_grid(picture: Size, crops: int, size: int) -> Grid:
    """The best of all grids of 2 to `crops` crops; on ties fewer columns win, then fewer rows."""
    grids = (Grid(rows, columns) for columns in range(1, crops + 1) for rows in range(1, crops // columns + 1))
    return best_canvas(picture, (grid for grid in grids if grid.cells > 1), size)

"""An overview of a picture and the tiles of its best canvas: LLaVA-NeXT's AnyRes."""

from collections.abc import Iterable, Sequence
from typing import Literal

from PIL.Image import Image

from foveal.core import Box, Grid, Size
from foveal.models.views.canvas import (
    canvas_of,
    centred,
    check_canvas,
    fitted_box,
    fitted_canvas,
    sharper,
    stretched,
    tiles_of,
)
from foveal.models.views.draft import Draft
from foveal.models.views.plan import DraftPlan, check_size

DEFAULT_CANDIDATES = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))


class AnyResPlan(DraftPlan):
    """The whole picture stretched to one tile, then the tiles of the picture on a canvas, row by row.

    Among the candidates, the canvas that keeps most of the picture's pixels wins; ties go to the one with the least
    padding. The picture keeps its aspect ratio and is centred on black (LLaVA-NeXT, released code; LLaVA-1.5-HD, arXiv
    2310.03744, section 4.1). A canvas of a single tile also gets the overview.

    Args:
        size: side of every view in pixels, the encoder's native size.
        candidates: canvases, counted in tiles; of two that fit a picture equally well, the earlier wins.
        tie_order: what the first number of a candidate counts. `width_first`: columns, as in the original code;
            `height_first`: rows, as transformers' `llava_next` reads the same list. With the default candidates the two
            differ only on ties: pictures of at most about one tile.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if `size` is below 1, there is no candidate, a candidate is not a pair of positive numbers or has
            more pixels than a canvas may have, or the order is unknown.
    """

    def __init__(
        self,
        size: int = 336,
        candidates: Sequence[tuple[int, int]] = DEFAULT_CANDIDATES,
        tie_order: Literal["width_first", "height_first"] = "width_first",
        *,
        draft: bool = False,
    ) -> None:
        if not candidates:
            raise ValueError("there must be at least one candidate canvas")
        for pair in candidates:
            if not (isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(n, int) and n > 0 for n in pair)):
                raise ValueError(f"candidates must be pairs of whole numbers of tiles, at least 1 each, not {pair!r}")
            check_canvas(pair[0] * pair[1], size)
        if tie_order not in ("width_first", "height_first"):
            raise ValueError(f"tie_order must be 'width_first' or 'height_first', not {tie_order!r}")
        self.size, self.tie_order, self.draft = size, tie_order, draft
        self.candidates = tuple((first, second) for first, second in candidates)

    def views(self, picture: Size) -> tuple[Size, ...]:
        return (Size(self.size, self.size),) * (1 + self.tile_grid(picture).cells)

    def tile_grid(self, picture: Size) -> Grid:
        check_size(picture)
        rows_first = self.tie_order == "height_first"
        canvases = (Grid(first, second) if rows_first else Grid(second, first) for first, second in self.candidates)
        return best_canvas(picture, canvases, self.size)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        tiles = self.tile_grid(picture)
        canvas = fitted_canvas(picture, canvas_of(tiles, self.size))
        return (Box.whole(picture), *canvas.cells(tiles))

    def cut_draft(self, picture: Draft) -> list[Image]:
        canvas = canvas_of(self.tile_grid(picture.size), self.size)
        overview = stretched(picture, Size(self.size, self.size))
        return [overview, *tiles_of(centred(picture, canvas), self.size)]

    def sharpest(self, picture: Size) -> Size:
        left, top, right, bottom = fitted_box(picture, canvas_of(self.tile_grid(picture), self.size))
        return sharper(Size(right - left, bottom - top), Size(self.size, self.size))


def best_canvas(picture: Size, canvases: Iterable[Grid], size: int) -> Grid:
    """The best canvas for a picture, in tiles.

    The canvas that keeps the most pixels of the fitted picture wins, not counting pixels added by enlarging; then the
    one with the least padding; then the first in order.

    Args:
        picture: size of the picture.
        canvases: rows and columns of tiles.
        size: side of a tile in pixels.
    """

    def cost(tiles: Grid) -> tuple[int, int]:
        canvas = canvas_of(tiles, size)
        scale = min(canvas.width / picture.width, canvas.height / picture.height)
        # Truncated as in the reference: a picture thinner than a pixel after fitting counts as lost.
        remaining = min(int(picture.width * scale) * int(picture.height * scale), picture.area)
        return -remaining, canvas.area - remaining

    return min(canvases, key=cost)


def kept_region(picture: Size, tile_grid: Grid, grid: Grid, *, rounded: bool = False) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the cells that show the picture on the map of all tiles; the rest is padding.

    If the padding is odd, one more line is kept. A picture more elongated than the map has cells may keep no line at
    all: top then equals bottom, or left equals right.

    Args:
        picture: size of the picture.
        tile_grid: rows and columns of tiles.
        grid: rows and columns of cells of each tile.
        rounded: round lengths to seven decimals before they are cut to whole cells, as transformers does: 99 cells
            that were computed as 98.999... are then 99, not 98 as in the original code. It matters for few sizes.

    Raises:
        ValueError: if the picture has no area.
    """
    check_size(picture)

    def whole(length: float) -> int:
        return int(round(length, 7) if rounded else length)

    width, height = picture
    rows, columns = tile_grid[0] * grid[0], tile_grid[1] * grid[1]
    # First the ratio, then the product: the truncated result depends on the order.
    if width / height > columns / rows:
        margin = (rows - whole(height * (columns / width))) // 2
        return margin, rows - margin, 0, columns
    margin = (columns - whole(width * (rows / height))) // 2
    return 0, rows, margin, columns - margin

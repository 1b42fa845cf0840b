"""A picture as an overview and tiles of the canvas that suits it best: LLaVA-NeXT's AnyRes."""

from collections.abc import Iterable, Sequence
from typing import Literal

from PIL.Image import Image

from foveal.models.views.canvas import Pair, centred, check_canvas, stretched, tiles_of
from foveal.models.views.plan import ViewPlan, check_size

DEFAULT_CANDIDATES = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))


class AnyResPlan(ViewPlan):
    """The whole picture stretched to one tile, then the tiles of the picture on a canvas, row by row.

    Of the candidate canvases the one is taken on which most of the picture's pixels survive, then the one with least
    room left over. There the picture keeps its shape and lies in the middle, on black (LLaVA-NeXT, released code;
    LLaVA-1.5-HD, arXiv 2310.03744, section 4.1). Even a canvas of one tile comes with the overview.

    Args:
        size: side of every view in pixels, the encoder's native one.
        candidates: canvases, counted in tiles; of two that suit a picture equally well the earlier is taken.
        tie_order: what the first number of a candidate counts: `width_first`: columns, as in the original code;
            `height_first`: rows, as the `llava_next` of transformers reads the same list. With the default candidates
            the two differ on ties only: pictures of at most about one tile.

    Raises:
        ValueError: if `size` is below 1, there is no candidate, one is no pair of positive numbers or has more pixels
            than a canvas may have, or the order is another.
    """

    def __init__(
        self,
        size: int = 336,
        candidates: Sequence[Pair] = DEFAULT_CANDIDATES,
        tie_order: Literal["width_first", "height_first"] = "width_first",
    ) -> None:
        if not candidates:
            raise ValueError("there must be at least one candidate canvas")
        for pair in candidates:
            if not (isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(n, int) and n > 0 for n in pair)):
                raise ValueError(f"candidates are pairs of whole numbers of tiles, at least 1 each, not {pair!r}")
            check_canvas(pair[0] * pair[1], size)
        if tie_order not in ("width_first", "height_first"):
            raise ValueError(f"tie_order is 'width_first' or 'height_first', not {tie_order!r}")
        self.size, self.candidates, self.tie_order = (
            size,
            tuple((first, second) for first, second in candidates),
            tie_order,
        )

    def grid(self, width: int, height: int) -> Pair:
        """(columns, rows) of the tiles of a picture."""
        check_size(width, height)
        swapped = self.tie_order == "height_first"
        canvases = ((second, first) if swapped else (first, second) for first, second in self.candidates)
        return best_canvas(width, height, canvases, self.size)

    def views(self, width: int, height: int) -> tuple[Pair, ...]:
        columns, rows = self.grid(width, height)
        return ((self.size, self.size),) * (1 + columns * rows)

    def tile_grid(self, width: int, height: int) -> Pair:
        columns, rows = self.grid(width, height)
        return rows, columns

    def cut(self, image: Image) -> list[Image]:
        columns, rows = self.grid(*image.size)
        overview = stretched(image, (self.size, self.size))
        return [overview, *tiles_of(centred(image, (columns * self.size, rows * self.size)), self.size)]


def best_canvas(width: int, height: int, canvases: Iterable[Pair], size: int) -> Pair:
    """(columns, rows) of the canvas for a picture of width x height pixels.

    The pixels that remain of the picture when it is fitted in decide, not counting those that enlarging adds; then the
    smallest rest of the canvas; then the order.

    Args:
        width: of the picture.
        height: of the picture.
        canvases: (columns, rows) of tiles.
        size: side of a tile in pixels.
    """

    def cost(canvas: Pair) -> Pair:
        columns, rows = canvas
        scale = min(columns * size / width, rows * size / height)
        # Truncated as in the reference: a picture that is thinner than a pixel when fitted in counts as lost.
        remaining = min(int(width * scale) * int(height * scale), width * height)
        return -remaining, columns * size * rows * size - remaining

    return min(canvases, key=cost)


def kept_region(width: int, height: int, tile_grid: Pair, grid: Pair) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the cells that show the picture on the map of all tiles; the rest is padding.

    An odd rest keeps one line more. Of a picture longer than the map has cells no line may be left: top is then bottom,
    or left is right.

    Args:
        width: of the picture in pixels.
        height: of the picture in pixels.
        tile_grid: rows and columns of tiles.
        grid: rows and columns of cells of each tile.

    Raises:
        ValueError: if the picture has no area.
    """
    check_size(width, height)
    rows, columns = tile_grid[0] * grid[0], tile_grid[1] * grid[1]
    # Ratio first, then the product: the truncated result depends on the order.
    if width / height > columns / rows:
        margin = (rows - int(height * (columns / width))) // 2
        return margin, rows - margin, 0, columns
    margin = (columns - int(width * (rows / height))) // 2
    return 0, rows, margin, columns - margin

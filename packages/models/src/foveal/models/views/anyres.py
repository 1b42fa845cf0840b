"""A picture as an overview and tiles of the canvas that suits it best: LLaVA-NeXT's AnyRes."""

from collections.abc import Iterable, Sequence
from typing import Literal

from PIL.Image import Image

from foveal.core import Grid, Size
from foveal.models.views.canvas import canvas_of, centred, check_canvas, stretched, tiles_of
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
        candidates: Sequence[tuple[int, int]] = DEFAULT_CANDIDATES,
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

    def views(self, picture: Size) -> tuple[Size, ...]:
        return (Size(self.size, self.size),) * (1 + self.tile_grid(picture).cells)

    def tile_grid(self, picture: Size) -> Grid:
        check_size(picture)
        rows_first = self.tie_order == "height_first"
        canvases = (Grid(first, second) if rows_first else Grid(second, first) for first, second in self.candidates)
        return best_canvas(picture, canvases, self.size)

    def cut(self, image: Image) -> list[Image]:
        tiles = self.tile_grid(Size.of(image.size))
        overview = stretched(image, Size(self.size, self.size))
        return [overview, *tiles_of(centred(image, canvas_of(tiles, self.size)), self.size)]


def best_canvas(picture: Size, canvases: Iterable[Grid], size: int) -> Grid:
    """The canvas for a picture, in tiles.

    The pixels that remain of the picture when it is fitted in decide, not counting those that enlarging adds; then the
    smallest rest of the canvas; then the order.

    Args:
        picture: its size.
        canvases: rows and columns of tiles.
        size: side of a tile in pixels.
    """

    def cost(tiles: Grid) -> tuple[int, int]:
        canvas = canvas_of(tiles, size)
        scale = min(canvas.width / picture.width, canvas.height / picture.height)
        # Truncated as in the reference: a picture that is thinner than a pixel when fitted in counts as lost.
        remaining = min(int(picture.width * scale) * int(picture.height * scale), picture.area)
        return -remaining, canvas.area - remaining

    return min(canvases, key=cost)


def kept_region(picture: Size, tile_grid: Grid, grid: Grid) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of the cells that show the picture on the map of all tiles; the rest is padding.

    An odd rest keeps one line more. Of a picture longer than the map has cells no line may be left: top is then bottom,
    or left is right.

    Args:
        picture: its size.
        tile_grid: rows and columns of tiles.
        grid: rows and columns of cells of each tile.

    Raises:
        ValueError: if the picture has no area.
    """
    check_size(picture)
    width, height = picture
    rows, columns = tile_grid[0] * grid[0], tile_grid[1] * grid[1]
    # Ratio first, then the product: the truncated result depends on the order.
    if width / height > columns / rows:
        margin = (rows - int(height * (columns / width))) // 2
        return margin, rows - margin, 0, columns
    margin = (columns - int(width * (rows / height))) // 2
    return 0, rows, margin, columns - margin

"""A picture as an overview and tiles of the canvas that suits it best: LLaVA-NeXT's AnyRes."""

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Literal

from PIL import Image as Pillow
from PIL.Image import Image, Resampling

from foveal.models.square import LARGEST_CANVAS
from foveal.models.views import ViewPlan, check_size

Pair = tuple[int, int]
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


def fitted_box(width: int, height: int, canvas: Pair) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a picture that fills a canvas of (width, height) as far as its shape allows."""
    horizontal, vertical = canvas[0] / width, canvas[1] / height
    if horizontal < vertical:
        fitted = canvas[0], min(ceil(height * horizontal), canvas[1])
    else:
        fitted = min(ceil(width * vertical), canvas[0]), canvas[1]
    left, top = (canvas[0] - fitted[0]) // 2, (canvas[1] - fitted[1]) // 2
    return left, top, left + fitted[0], top + fitted[1]


def centred(image: Image, canvas: Pair) -> Image:
    """The picture in its own shape, in the middle of a black canvas of (width, height)."""
    left, top, right, bottom = fitted_box(*image.size, canvas)
    ground = Pillow.new("RGB", canvas)
    ground.paste(image.resize((right - left, bottom - top), Resampling.BICUBIC), (left, top))
    return ground


def stretched(image: Image, size: Pair) -> Image:
    """The picture at (width, height), whatever its shape.

    Of a picture so high that it would take more than `LARGEST_CANVAS` pixels on the way, the result may differ from the
    reference by the rounding of two grey levels, and by more where sharp edges next to black or white are clipped.
    """
    if size[0] * image.height > LARGEST_CANVAS:
        # Pillow changes the width first; a strip of 1x1000000 would become 336x1000000 in between.
        image = image.resize((image.width, size[1]), Resampling.BICUBIC)
    return image.resize(size, Resampling.BICUBIC)


def tiles_of(image: Image, size: int) -> list[Image]:
    """Squares of side `size`, row by row; the picture's sides are multiples of it."""
    return [
        image.crop((left, top, left + size, top + size))
        for top in range(0, image.height, size)
        for left in range(0, image.width, size)
    ]


def check_canvas(tiles: int, size: int) -> None:
    """Refuse a canvas without pixels, or with more than can be resized to.

    Raises:
        ValueError: naming both numbers.
    """
    if size < 1:
        raise ValueError(f"a view's size is at least 1 pixel, not {size}")
    if tiles * size * size > LARGEST_CANVAS:
        raise ValueError(
            f"{tiles} tiles of {size}x{size} pixels are more than the {LARGEST_CANVAS} pixels of the largest canvas: "
            "use fewer (canvases are counted in tiles, not in pixels)"
        )

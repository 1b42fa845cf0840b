"""Tiles of a picture on the canvas of the nearest shape, then a thumbnail: InternVL and GOT-OCR 2.0."""

from collections.abc import Iterable

from PIL.Image import Image

from foveal.core import Box, Grid, Size
from foveal.models.views.canvas import canvas_of, check_canvas, sharper, stretched, tiles_of
from foveal.models.views.draft import Draft
from foveal.models.views.plan import DraftPlan, check_size, enclosed


class DynamicTilesPlan(DraftPlan):
    """The picture stretched to a canvas of tiles, row by row, then the whole picture as a thumbnail.

    The canvas is the one whose aspect ratio is nearest to the picture's (dynamic high resolution: InternVL 1.5, arXiv
    2404.16821, section 3.3; GOT-OCR 2.0, arXiv 2409.01704, released code, `dynamic_preprocess`). A canvas of one tile
    has no thumbnail: with `max_tiles` 1, a picture is one view, squashed to a square.

    Args:
        size: side of every view in pixels, the encoder's native size.
        max_tiles: most tiles of a canvas; the thumbnail is not counted.
        min_tiles: fewest tiles of a canvas.
        start: text before the views, a single token; empty: none.
        end: text after the views, likewise.
        enclose_together: see `ViewPlan`.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if `size` or a number of tiles is below 1, `min_tiles` above `max_tiles`, or a canvas has more
            pixels than it may have.
    """

    def __init__(
        self,
        size: int = 448,
        max_tiles: int = 12,
        min_tiles: int = 1,
        *,
        start: str = "",
        end: str = "",
        enclose_together: bool = False,
        draft: bool = False,
    ) -> None:
        check_tiles(min_tiles, max_tiles, size)
        self.size, self.max_tiles, self.min_tiles = size, max_tiles, min_tiles
        self.start, self.end, self.enclose_together, self.draft = start, end, enclose_together, draft

    def views(self, picture: Size) -> tuple[Size, ...]:
        tiles = self.tiles(picture).cells
        return (Size(self.size, self.size),) * (tiles + 1 if tiles > 1 else tiles)

    def tiles(self, picture: Size) -> Grid:
        """Rows and columns of the tiles, without the thumbnail."""
        check_size(picture)
        return nearest_canvas(picture, canvases_between(self.min_tiles, self.max_tiles), self.size)

    def layout(self, picture: Size) -> tuple[int | str, ...]:
        return enclosed(self.start, range(len(self.views(picture))), self.end)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        tiles, whole = self.tiles(picture), Box.whole(picture)
        boxes = whole.cells(tiles)
        return boxes if tiles.cells == 1 else (*boxes, whole)

    def cut_draft(self, picture: Draft) -> list[Image]:
        tiles = self.tiles(picture.size)
        views = tiles_of(stretched(picture, canvas_of(tiles, self.size)), self.size)
        return views if tiles.cells == 1 else [*views, stretched(picture, Size(self.size, self.size))]

    def sharpest(self, picture: Size) -> Size:
        return sharper(canvas_of(self.tiles(picture), self.size), Size(self.size, self.size))


def canvases_between(min_tiles: int, max_tiles: int) -> list[Grid]:
    """All canvases of so many tiles: those of few tiles first, and of as many tiles the narrowest first."""
    grids = [
        Grid(rows, columns)
        for columns in range(1, max_tiles + 1)
        for rows in range(1, max_tiles // columns + 1)
        if rows * columns >= min_tiles
    ]
    return sorted(grids, key=lambda grid: grid.cells)


def nearest_canvas(picture: Size, canvases: Iterable[Grid], size: int) -> Grid:
    """The canvas whose width / height is nearest to the picture's.

    Of two that are as near, the later wins if the picture has more than half as many pixels as that has.

    Args:
        picture: size of the picture.
        canvases: rows and columns of tiles, at least one canvas.
        size: side of a tile in pixels.
    """
    ratio = picture.width / picture.height
    found, best = None, 0.0
    for grid in canvases:
        distance = abs(ratio - grid.columns / grid.rows)
        is_tie = distance == best and picture.area > 0.5 * size * size * grid.cells
        if found is None or distance < best or is_tie:
            found, best = grid, distance
    if found is None:
        raise ValueError("there must be at least one canvas")
    return found


def check_tiles(min_tiles: int, max_tiles: int, size: int) -> None:
    """Refuse numbers of tiles that allow no canvas, or one with too many pixels.

    Raises:
        ValueError: naming the numbers.
    """
    if not 1 <= min_tiles <= max_tiles:
        raise ValueError(f"min_tiles must be from 1 to max_tiles {max_tiles}, not {min_tiles}")
    check_canvas(max_tiles, size)

"""Tiles of a large picture, then the whole picture on a grey square: DeepSeek-OCR 2."""

from PIL import Image as Pillow
from PIL.Image import Image

from foveal.core import Box, Grid, Size
from foveal.models.views.canvas import canvas_of, sharper, stretched, tiles_of
from foveal.models.views.draft import Draft
from foveal.models.views.plan import DraftPlan, check_size
from foveal.models.views.tiles import canvases_between, check_tiles, nearest_canvas


class DeepSeekOcr2Plan(DraftPlan):
    """Tiles of the picture on the canvas of the nearest shape, row by row, then the whole picture, padded to a larger
    square (DeepSeek-OCR 2, arXiv 2601.20552; transformers' `deepseek_ocr2`). A picture that is no larger than a tile is
    not cut into tiles. The canvas is chosen as by `DynamicTilesPlan`.

    Args:
        size: side of the view of the whole picture in pixels.
        tile_size: side of a tile in pixels.
        max_tiles: most tiles of a picture.
        min_tiles: fewest tiles of a picture that has any.
        fill: colour of the padding, in 0..255.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if a size or number is below 1, `min_tiles` above `max_tiles`, or a canvas has more pixels than it
            may have.
    """

    def __init__(
        self,
        size: int = 1024,
        tile_size: int = 768,
        max_tiles: int = 6,
        min_tiles: int = 2,
        *,
        fill: tuple[int, int, int] = (127, 127, 127),
        draft: bool = False,
    ) -> None:
        check_tiles(min_tiles, max_tiles, tile_size)
        check_tiles(1, 1, size)
        self.size, self.tile_size, self.max_tiles, self.min_tiles = size, tile_size, max_tiles, min_tiles
        self.fill, self.draft = fill, draft

    def views(self, picture: Size) -> tuple[Size, ...]:
        tiles = self.tiles(picture)
        small = Size(self.tile_size, self.tile_size)
        return (*(small,) * (0 if tiles is None else tiles.cells), Size(self.size, self.size))

    def tiles(self, picture: Size) -> Grid | None:
        """Rows and columns of the tiles; None: there are none."""
        check_size(picture)
        if max(picture) <= self.tile_size:
            return None
        return nearest_canvas(picture, canvases_between(self.min_tiles, self.max_tiles), self.tile_size)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        tiles, whole = self.tiles(picture), Box.whole(picture)
        inner, left, top = self._fitted(picture)
        across, down = picture.width / inner.width, picture.height / inner.height
        square = Box(-left * across, -top * down, (self.size - left) * across, (self.size - top) * down)
        return (*(() if tiles is None else whole.cells(tiles)), square)

    def cut_draft(self, picture: Draft) -> list[Image]:
        tiles = self.tiles(picture.size)
        inner, left, top = self._fitted(picture.size)
        square = Pillow.new("RGB", (self.size, self.size), tuple(self.fill))
        square.paste(stretched(picture, inner), (left, top))
        if tiles is None:
            return [square]
        return [*tiles_of(stretched(picture, canvas_of(tiles, self.tile_size)), self.tile_size), square]

    def sharpest(self, picture: Size) -> Size:
        tiles, (inner, _, _) = self.tiles(picture), self._fitted(picture)
        return inner if tiles is None else sharper(inner, canvas_of(tiles, self.tile_size))

    def _fitted(self, picture: Size) -> tuple[Size, int, int]:
        """The size of the whole picture in its view, and how far it is from the left and upper sides."""
        scale = self.size / max(picture)
        # A picture that is longer than twice `size` times its other side would have none left; the reference fails.
        inner = Size(max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
        return inner, (self.size - inner.width) // 2, (self.size - inner.height) // 2

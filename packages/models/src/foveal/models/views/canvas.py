"""Put pictures onto canvases, stretched or with their aspect ratio kept on black, and cut them into tiles."""

from math import ceil

from PIL import Image as Pillow
from PIL.Image import Image, Resampling

from foveal.core import Box, Grid, Size
from foveal.models.views.draft import Draft
from foveal.models.views.square import LARGEST_CANVAS


def canvas_of(tiles: Grid, side: int) -> Size:
    """The size in pixels of a canvas of `tiles`, squares of `side` pixels."""
    return Size(tiles.columns * side, tiles.rows * side)


def fitted_box(picture: Size, canvas: Size) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a picture that is scaled to fit a canvas and centred."""
    horizontal, vertical = canvas.width / picture.width, canvas.height / picture.height
    if horizontal < vertical:
        fitted = Size(canvas.width, min(ceil(picture.height * horizontal), canvas.height))
    else:
        fitted = Size(min(ceil(picture.width * vertical), canvas.width), canvas.height)
    left, top = (canvas.width - fitted.width) // 2, (canvas.height - fitted.height) // 2
    return left, top, left + fitted.width, top + fitted.height


def fitted_canvas(picture: Size, canvas: Size) -> Box:
    """The box of a canvas, in pixels of the picture that is scaled to fit it and centred."""
    left, top, right, bottom = fitted_box(picture, canvas)
    across, down = picture.width / (right - left), picture.height / (bottom - top)
    return Box(-left * across, -top * down, (canvas.width - left) * across, (canvas.height - top) * down)


def centred(picture: Draft, canvas: Size) -> Image:
    """The picture scaled to fit a black canvas, centred, with its aspect ratio kept."""
    left, top, right, bottom = fitted_box(picture.size, canvas)
    ground = Pillow.new("RGB", canvas)
    ground.paste(picture.resized((right - left, bottom - top)), (left, top))
    return ground


def stretched(picture: Draft, size: Size) -> Image:
    """The picture resized to `size`, ignoring its aspect ratio.

    If a very tall picture would need more than `LARGEST_CANVAS` pixels in between, the result may differ from the
    reference by two grey levels of rounding, and by more where sharp edges next to black or white are clipped.
    """
    if size.width * picture.image.height > LARGEST_CANVAS:
        # Pillow resizes the width first; a strip of 1x1000000 would become 336x1000000 in between.
        return picture.resized((picture.image.width, size.height)).resize(size, Resampling.BICUBIC)
    return picture.resized(size)


def sharper(*sizes: Size) -> Size:
    """The size that is in no direction smaller than any of `sizes`."""
    return Size(max(size.width for size in sizes), max(size.height for size in sizes))


def tiles_of(image: Image, size: int) -> list[Image]:
    """Cut the picture, whose sides are multiples of `size`, into squares of that side, row by row."""
    return pieces_of(image, Size(size, size))


def pieces_of(image: Image, piece: Size) -> list[Image]:
    """Cut the picture, whose sides are multiples of those of `piece`, into pieces of that size, row by row."""
    return [
        image.crop((left, top, left + piece.width, top + piece.height))
        for top in range(0, image.height, piece.height)
        for left in range(0, image.width, piece.width)
    ]


def check_canvas(tiles: int, size: int) -> None:
    """Refuse a canvas without pixels, or with more than `LARGEST_CANVAS`.

    Raises:
        ValueError: naming both numbers.
    """
    if size < 1:
        raise ValueError(f"a view's size must be at least 1 pixel, not {size}")
    if tiles * size * size > LARGEST_CANVAS:
        raise ValueError(
            f"{tiles} tiles of {size}x{size} pixels are more than the {LARGEST_CANVAS} pixels of the largest canvas: "
            "use fewer (canvases are counted in tiles, not in pixels)"
        )

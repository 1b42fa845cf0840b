"""Pictures onto canvases: stretched, or in their own shape on black; and cut into tiles."""

from math import ceil

from PIL import Image as Pillow
from PIL.Image import Image, Resampling

from foveal.core import Grid, Size
from foveal.models.views.square import LARGEST_CANVAS


def canvas_of(tiles: Grid, side: int) -> Size:
    """The size of a canvas of rows and columns of tiles, squares of `side` pixels."""
    return Size(tiles.columns * side, tiles.rows * side)


def fitted_box(picture: Size, canvas: Size) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a picture that fills a canvas as far as its shape allows."""
    horizontal, vertical = canvas.width / picture.width, canvas.height / picture.height
    if horizontal < vertical:
        fitted = Size(canvas.width, min(ceil(picture.height * horizontal), canvas.height))
    else:
        fitted = Size(min(ceil(picture.width * vertical), canvas.width), canvas.height)
    left, top = (canvas.width - fitted.width) // 2, (canvas.height - fitted.height) // 2
    return left, top, left + fitted.width, top + fitted.height


def centred(image: Image, canvas: Size) -> Image:
    """The picture in its own shape, in the middle of a black canvas."""
    left, top, right, bottom = fitted_box(Size.of(image.size), canvas)
    ground = Pillow.new("RGB", canvas)
    ground.paste(image.resize((right - left, bottom - top), Resampling.BICUBIC), (left, top))
    return ground


def stretched(image: Image, size: Size) -> Image:
    """The picture at that size, whatever its shape.

    Of a picture so high that it would take more than `LARGEST_CANVAS` pixels on the way, the result may differ from the
    reference by the rounding of two grey levels, and by more where sharp edges next to black or white are clipped.
    """
    if size.width * image.height > LARGEST_CANVAS:
        # Pillow changes the width first; a strip of 1x1000000 would become 336x1000000 in between.
        image = image.resize((image.width, size.height), Resampling.BICUBIC)
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

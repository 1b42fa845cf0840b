"""One square view: LLaVA-1.5."""

from PIL import Image as Pillow
from PIL.Image import Image, Resampling

from foveal.core import Size
from foveal.models.views.plan import ViewPlan, check_size

CLIP_MEAN_COLOUR = (122, 116, 104)
LARGEST_CANVAS = 200_000_000
"""In pixels; a larger canvas would take more than a gigabyte while it is resized."""


class PadToSquare(ViewPlan):
    """The whole picture on a square canvas (LLaVA-1.5, arXiv 2310.03744, section 3.2; stage 2 and inference).

    If the canvas would have more than `LARGEST_CANVAS` pixels, the longer side is resized first, and the view may
    differ from the reference by some grey levels at sharp edges.

    Args:
        size: side of the view in pixels.
        fill: colour of the canvas; by default CLIP's mean, in 0..255.

    Raises:
        ValueError: if `size` is below 1.
    """

    def __init__(self, size: int = 336, *, fill: tuple[int, int, int] = CLIP_MEAN_COLOUR) -> None:
        _check_side(size)
        self.size, self.fill = size, fill

    def views(self, picture: Size) -> tuple[Size, ...]:
        check_size(picture)
        if max(picture) * self.size > LARGEST_CANVAS:
            raise ValueError(
                f"a picture of {picture} pixels is too long for a square canvas: "
                f"at most {LARGEST_CANVAS // self.size} pixels a side; cut it or make it smaller"
            )
        return (Size(self.size, self.size),)

    def cut(self, image: Image) -> list[Image]:
        self.views(Size.of(image.size))
        side = max(image.size)
        if image.width == image.height:
            return [image.resize((self.size, self.size), Resampling.BICUBIC)]
        canvas_size = (side, side)
        if side * side > LARGEST_CANVAS:
            # The longer side is not padded, so it can be shrunk before the canvas is made.
            if image.width > image.height:
                image, canvas_size = image.resize((self.size, image.height), Resampling.BICUBIC), (self.size, side)
            else:
                image, canvas_size = image.resize((image.width, self.size), Resampling.BICUBIC), (side, self.size)
        canvas = Pillow.new("RGB", canvas_size, tuple(self.fill))
        canvas.paste(image, ((canvas_size[0] - image.width) // 2, (canvas_size[1] - image.height) // 2))
        return [canvas.resize((self.size, self.size), Resampling.BICUBIC)]


class CropToSquare(ViewPlan):
    """The picture's centre: shorter side resized to `size`, longer side cropped (CLIP; LLaVA-1.5's stage 1).

    Args:
        size: side of the view in pixels.

    Raises:
        ValueError: if `size` is below 1.
    """

    def __init__(self, size: int = 336) -> None:
        _check_side(size)
        self.size = size

    def views(self, picture: Size) -> tuple[Size, ...]:
        check_size(picture)
        return (Size(self.size, self.size),)

    def cut(self, image: Image) -> list[Image]:
        width, height = image.size
        shorter, longer = sorted((width, height))
        long_side = int(self.size * longer / shorter)
        size = Size(self.size, long_side) if width <= height else Size(long_side, self.size)
        left, top = (size.width - self.size) // 2, (size.height - self.size) // 2
        # Only the part that remains is resampled; a very long picture would not fit into memory as a whole.
        return [_resized_window(image, size, (left, top, left + self.size, top + self.size))]


def _check_side(size: int) -> None:
    if size < 1:
        raise ValueError(f"a view's size must be at least 1 pixel, not {size}")


def _resized_window(image: Image, size: Size, box: tuple[int, int, int, int]) -> Image:
    """`image.resize(size).crop(box)`, resizing no more than needed for extreme aspect ratios."""
    if size.area <= 50_000_000:
        return image.resize(size, Resampling.BICUBIC).crop(box)
    horizontal, vertical = image.width / size.width, image.height / size.height
    source = (box[0] * horizontal, box[1] * vertical, box[2] * horizontal, box[3] * vertical)
    return image.resize((box[2] - box[0], box[3] - box[1]), Resampling.BICUBIC, box=source)

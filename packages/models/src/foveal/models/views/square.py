"""One square view: LLaVA-1.5."""

from math import ceil

from PIL import Image as Pillow
from PIL.Image import Image, Resampling

from foveal.core import Box, Size
from foveal.models.views.draft import Draft
from foveal.models.views.plan import DraftPlan, check_size

CLIP_MEAN_COLOUR = (122, 116, 104)
LARGEST_CANVAS = 200_000_000
"""In pixels; a larger canvas would take more than a gigabyte while it is resized."""


class PadToSquare(DraftPlan):
    """The whole picture on a square canvas (LLaVA-1.5, arXiv 2310.03744, section 3.2; stage 2 and inference).

    If the canvas would have more than `LARGEST_CANVAS` pixels, the longer side is resized first, and the view may
    differ from the reference by some grey levels at sharp edges.

    Args:
        size: side of the view in pixels.
        fill: colour of the canvas; by default CLIP's mean, in 0..255.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if `size` is below 1.
    """

    def __init__(self, size: int = 336, *, fill: tuple[int, int, int] = CLIP_MEAN_COLOUR, draft: bool = False) -> None:
        _check_side(size)
        self.size, self.fill, self.draft = size, fill, draft

    def views(self, picture: Size) -> tuple[Size, ...]:
        check_size(picture)
        if max(picture) * self.size > LARGEST_CANVAS:
            raise ValueError(
                f"a picture of {picture} pixels is too long for a square canvas: "
                f"at most {LARGEST_CANVAS // self.size} pixels a side; cut it or make it smaller"
            )
        return (Size(self.size, self.size),)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        self.views(picture)
        side = max(picture)
        left, top = (side - picture.width) // 2, (side - picture.height) // 2
        return (Box(-left, -top, side - left, side - top),)

    def cut_draft(self, picture: Draft) -> list[Image]:
        self.views(picture.size)
        view, side = (self.size, self.size), max(picture.size)
        if picture.size.width == picture.size.height:
            return [picture.resized(view)]
        if max(picture.image.size) ** 2 > LARGEST_CANVAS:
            # The longer side is not padded, so it can be shrunk before the canvas is made.
            width, height = picture.image.size
            picture = Draft(
                picture.resized((self.size, height) if width > height else (width, self.size)), picture.size
            )
        places, box, ends = [], [], []
        for whole, length in zip(picture.size, picture.image.size, strict=True):
            scale = length / whole
            margin = (side - whole) // 2 * scale
            # A draft's margin may be no whole number of pixels: the picture begins at the next pixel of the canvas, and
            # the square that becomes the view begins as much later.
            places.append(ceil(margin))
            box.append(ceil(margin) - margin)
            ends.append(box[-1] + side * scale)
        canvas = Pillow.new("RGB", (_whole(ends[0]), _whole(ends[1])), tuple(self.fill))
        canvas.paste(picture.image, (places[0], places[1]))
        right, bottom = (min(end, length) for end, length in zip(ends, canvas.size, strict=True))
        return [canvas.resize(view, Resampling.BICUBIC, box=(box[0], box[1], right, bottom))]

    def sharpest(self, picture: Size) -> Size:
        longer = max(picture)
        return Size(*(ceil(side * self.size / longer) for side in picture))


class CropToSquare(DraftPlan):
    """The picture's centre: shorter side resized to `size`, longer side cropped (CLIP; LLaVA-1.5's stage 1).

    Args:
        size: side of the view in pixels.
        draft: decode a large JPEG at a reduced scale: several times faster, not exact, see `ViewPlan`.

    Raises:
        ValueError: if `size` is below 1.
    """

    def __init__(self, size: int = 336, *, draft: bool = False) -> None:
        _check_side(size)
        self.size, self.draft = size, draft

    def views(self, picture: Size) -> tuple[Size, ...]:
        check_size(picture)
        return (Size(self.size, self.size),)

    def regions(self, picture: Size) -> tuple[Box, ...]:
        check_size(picture)
        size, (left, top, right, bottom) = self.sharpest(picture), self._window(picture)
        across, down = picture.width / size.width, picture.height / size.height
        return (Box(left * across, top * down, right * across, bottom * down),)

    def cut_draft(self, picture: Draft) -> list[Image]:
        # Only the part that remains is resampled; a very long picture would not fit into memory as a whole.
        return [_resized_window(picture, self.sharpest(picture.size), self._window(picture.size))]

    def sharpest(self, picture: Size) -> Size:
        shorter, longer = sorted(picture)
        long_side = int(self.size * longer / shorter)
        return Size(self.size, long_side) if picture.width <= picture.height else Size(long_side, self.size)

    def _window(self, picture: Size) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of what remains of the resized picture."""
        size = self.sharpest(picture)
        left, top = (size.width - self.size) // 2, (size.height - self.size) // 2
        return left, top, left + self.size, top + self.size


def _check_side(size: int) -> None:
    if size < 1:
        raise ValueError(f"a view's size must be at least 1 pixel, not {size}")


def _whole(length: float) -> int:
    """The whole number of pixels that a length takes, which may be off by a rounding error."""
    return ceil(length - 1e-6)


def _resized_window(picture: Draft, size: Size, box: tuple[int, int, int, int]) -> Image:
    """The picture resized to `size` and cropped to `box`, resizing no more than needed for extreme aspect ratios."""
    if size.area <= 50_000_000:
        return picture.resized(size).crop(box)
    image = picture.image
    horizontal, vertical = image.width / size.width, image.height / size.height
    source = (box[0] * horizontal, box[1] * vertical, box[2] * horizontal, box[3] * vertical)
    return image.resize((box[2] - box[0], box[3] - box[1]), Resampling.BICUBIC, box=source)

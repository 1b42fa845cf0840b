"""The box that a sentence describes, in the picture and in the padded picture."""

from collections.abc import Mapping
from typing import Any, Literal

from foveal.core import Box, Size
from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.rows.row import Row, shown
from recipes.reading.pictures import picture_size

Form = Literal["corners", "size"]
FURTHEST = 10**9
"""Pixels from a picture's corner, beyond the side of every picture that is read."""


class BoundingBox(Derived):
    """Adds `box` and `size`, and the same in the square that LLaVA-1.5 pads a picture to: `padded_box`, `square`.

    A model that was trained on padded pictures writes coordinates of the square; it would lose 10 to 20 points if they
    were taken for those of the picture.

    Args:
        field: four numbers.
        form: `corners`: left, top, right, bottom; `size`: left, top, width, height.
        picture: field with the picture, whose size is looked up; null: it is in the fields `width` and `height`.
    """

    names = ("box", "size", "padded_box", "square")

    def __init__(self, field: str, form: Form, *, picture: str | None = None) -> None:
        self.field, self.form, self.picture = field, form, picture

    def values(self, row: Row) -> Mapping[str, Any]:
        box = box_of(row.of(self.field), f"{row.where}, {self.field}", self.form)
        size = self._size(row)
        side = max(size.width, size.height)
        across, down = (side - size.width) // 2, (side - size.height) // 2
        return {
            "box": box,
            "size": size,
            "padded_box": Box(box.left + across, box.top + down, box.right + across, box.bottom + down),
            "square": Size(side, side),
        }

    def _size(self, row: Row) -> Size:
        if self.picture is not None:
            return picture_size(row.of(self.picture).find())
        width, height = row.of("width"), row.of("height")
        if type(width) is not int or type(height) is not int or min(width, height) < 1:
            raise ValueError(
                f"{row.where}: width and height are expected in pixels, not {width!r:.20} and {height!r:.20}"
            )
        return Size(width, height)


def box_of(numbers: Any, where: str, form: Form = "corners") -> Box:
    """The box that a file writes as four numbers; it may have no area, and reach beyond the picture.

    Args:
        numbers: as parsed from the file.
        where: their location, for messages.
        form: see `BoundingBox`.

    Raises:
        ValueError: if they are no box.
    """
    if not isinstance(numbers, list) or len(numbers) != 4 or not all(type(each) in (int, float) for each in numbers):
        raise ValueError(f"{where}: four numbers are expected, not {shown(numbers)}")
    if not all(abs(each) <= FURTHEST for each in numbers):  # so is what is not a number
        raise ValueError(f"{where}: a box in pixels is expected, not {shown(numbers)}")
    left, top, right, bottom = map(float, numbers)
    if form == "size":
        right, bottom = left + right, top + bottom
    if left > right or top > bottom:
        order = "left, top, right, bottom" if form == "corners" else "left, top, width, height"
        raise ValueError(f"{where}: {order} are expected, not {shown(numbers)}, whose sides are the wrong way round")
    return Box(left, top, right, bottom)

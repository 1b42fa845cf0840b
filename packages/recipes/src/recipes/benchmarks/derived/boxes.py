"""The box that a sentence describes, in the picture and in the padded picture."""

from collections.abc import Mapping
from typing import Any, Literal

from foveal.core import Box, Size
from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.rows.row import Row, four_numbers
from recipes.reading.pictures import picture_size


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

    def __init__(self, field: str, form: Literal["corners", "size"], *, picture: str | None = None) -> None:
        self.field, self.form, self.picture = field, form, picture

    def values(self, row: Row) -> Mapping[str, Any]:
        left, top, right, bottom = four_numbers(row.of(self.field), f"{row.where}, {self.field}")
        if self.form == "size":
            right, bottom = left + right, top + bottom
        size = self._size(row)
        side = max(size.width, size.height)
        across, down = (side - size.width) // 2, (side - size.height) // 2
        return {
            "box": Box(left, top, right, bottom),
            "size": size,
            "padded_box": Box(left + across, top + down, right + across, bottom + down),
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

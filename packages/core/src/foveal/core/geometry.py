"""Sizes in pixels, grids of cells and boxes on a picture: separate types, so that they are not confused."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Size(NamedTuple):
    """Size of a picture, view or canvas in pixels: width first, as in Pillow.

    Attributes:
        width: number of pixels in a row.
        height: number of pixels in a column.
    """

    width: int
    height: int

    @classmethod
    def of(cls, pair: Sequence[int]) -> "Size":
        """Make a size from a plain (width, height), as in Pillow.

        Raises:
            ValueError: if it is not a pair of integers.
        """
        return cls(*_pair(pair, "a size is (width, height)"))

    @classmethod
    def of_view(cls, pixels: Tensor) -> "Size":
        """The size of a view, or of several views of the same size: [..., height, width]."""
        height, width = pixels.shape[-2:]
        return cls(width, height)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Grid(NamedTuple):
    """Rows and columns of cells (tokens, patches or tiles): rows first, as in the shape of a tensor.

    Attributes:
        rows: number of rows.
        columns: number of columns.
    """

    rows: int
    columns: int

    @classmethod
    def of(cls, pair: Sequence[int]) -> "Grid":
        """Make a grid from a plain (rows, columns), as in configurations and saved descriptions.

        Raises:
            ValueError: if it is not a pair of integers.
        """
        return cls(*_pair(pair, "a grid is (rows, columns)"))

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.rows * self.columns

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


class Box(NamedTuple):
    """A rectangle on a picture, in pixels of the picture from its top left corner; it may reach beyond the picture.

    Attributes:
        left: distance of the left side from the picture's.
        top: distance of the upper side from the picture's.
        right: distance of the right side from the picture's left one.
        bottom: distance of the lower side from the picture's upper one.
    """

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def whole(cls, picture: Size) -> "Box":
        """The box of a whole picture."""
        return cls(0.0, 0.0, float(picture.width), float(picture.height))

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.width * self.height

    def overlap(self, other: "Box") -> "Box | None":
        """What is in both boxes; None if that has no area."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Box(left, top, right, bottom) if left < right and top < bottom else None

    def cells(self, grid: Grid) -> tuple["Box", ...]:
        """The equal parts of the box, row by row."""
        across = [self.left + self.width * number / grid.columns for number in range(grid.columns + 1)]
        down = [self.top + self.height * number / grid.rows for number in range(grid.rows + 1)]
        return tuple(
            Box(across[column], down[row], across[column + 1], down[row + 1])
            for row in range(grid.rows)
            for column in range(grid.columns)
        )


def _pair(pair: Sequence[int], what: str) -> tuple[int, int]:
    if not (isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(number, int) for number in pair)):
        raise ValueError(f"{what}, two whole numbers, not {pair!r}")
    return pair[0], pair[1]

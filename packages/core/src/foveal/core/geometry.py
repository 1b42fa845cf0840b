"""Sizes in pixels and grids of cells: two pairs of whole numbers, of which neither passes for the other."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Size(NamedTuple):
    """Of a picture, a view or a canvas in pixels: width first, as in Pillow.

    Attributes:
        width: pixels along a row.
        height: pixels along a column.
    """

    width: int
    height: int

    @classmethod
    def of(cls, pair: Sequence[int]) -> "Size":
        """From a plain (width, height), as Pillow has it.

        Raises:
            ValueError: if it is no pair of whole numbers.
        """
        return cls(*_pair(pair, "a size is (width, height)"))

    @classmethod
    def of_view(cls, pixels: Tensor) -> "Size":
        """Of a view, or of views of one size: [..., height, width]."""
        height, width = pixels.shape[-2:]
        return cls(width, height)

    @property
    def area(self) -> int:
        """Pixels."""
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Grid(NamedTuple):
    """Rows and columns of cells (of tokens, patches or tiles): rows first, as in the shape of a tensor.

    Attributes:
        rows: cells along a column.
        columns: cells along a row.
    """

    rows: int
    columns: int

    @classmethod
    def of(cls, pair: Sequence[int]) -> "Grid":
        """From a plain (rows, columns), as configurations and saved descriptions have it.

        Raises:
            ValueError: if it is no pair of whole numbers.
        """
        return cls(*_pair(pair, "a grid is (rows, columns)"))

    @property
    def cells(self) -> int:
        """How many there are."""
        return self.rows * self.columns

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


def _pair(pair: Sequence[int], what: str) -> tuple[int, int]:
    if not (isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(number, int) for number in pair)):
        raise ValueError(f"{what}, two whole numbers, not {pair!r}")
    return pair[0], pair[1]

"""Lay what was found in the cells of a view back on the picture."""

import torch
from torch import Tensor

from foveal.core import Box, Grid, Size

LONGEST = 512
"""Most rows or columns of a map on a picture."""


def map_grid(picture: Size) -> Grid:
    """Rows and columns of the map of a picture: one for each pixel, or fewer for a large picture."""
    scale = min(1.0, LONGEST / max(picture))
    return Grid(max(round(picture.height * scale), 1), max(round(picture.width * scale), 1))


def laid_on(values: Tensor, box: Box, picture: Size, grid: Grid) -> Tensor:
    """The values of a view's cells, interpolated bilinearly within the view, on the part of the picture that it shows.

    The sum stays the same, but for what lies beyond the picture, on padding.

    Args:
        values: [rows, columns] of cells.
        box: the part of the picture that the view shows.
        picture: size of the picture.
        grid: rows and columns of the result, see `map_grid`.

    Returns:
        [rows, columns] of `grid`, float64.
    """
    down = _spread(values.shape[0], box.top, box.bottom, picture.height, grid.rows)
    across = _spread(values.shape[1], box.left, box.right, picture.width, grid.columns)
    return down @ values.double() @ across.T


def _spread(cells: int, start: float, end: float, length: int, pixels: int) -> Tensor:
    """The part of each cell that lies in each pixel along one axis, [pixels, cells].

    A cell is a tent as wide as two cells, which is what bilinear interpolation makes of it, and flat from the middle of
    the first and last cell outwards; its integral over each pixel is exact.

    Args:
        cells: number of cells.
        start: where the first cell begins, in the picture's pixels.
        end: where the last one ends.
        length: side of the picture.
        pixels: number of pixels of the result along that side.
    """
    edges = torch.arange(pixels + 1, dtype=torch.float64) * length / pixels
    inside = ((edges - start) * cells / (end - start)).clamp(0, cells)
    # Beyond both ends there is one more cell, whose part inside belongs to the first and last one.
    centres = torch.arange(-1, cells + 1, dtype=torch.float64) + 0.5
    away = (inside[:, None] - centres).clamp(-1, 1)
    below = torch.where(away < 0, (away + 1) ** 2 / 2, 1 - (1 - away) ** 2 / 2)
    parts = below.diff(dim=0)
    spread = parts[:, 1:-1].clone()
    spread[:, 0] += parts[:, 0]
    spread[:, -1] += parts[:, -1]
    return spread

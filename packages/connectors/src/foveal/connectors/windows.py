"""Windows of a map, one for each query: their places, and the points that are sampled in them."""

from math import ceil, log

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.core import Grid

FEW_CELLS = 64
"""Up to this many cells in a map, one product for whole windows is faster than one for rows and one for columns."""


def window_points(grid: Grid) -> Grid:
    """Rows and columns of points in a window: the one of seven shapes that is closest to the view's aspect ratio."""
    shapes = ((4, 2), (3, 2), (4, 3), (3, 3), (2, 4), (2, 3), (3, 4))
    wanted = log(grid[1] / grid[0])
    columns, rows = min(shapes, key=lambda shape: abs(wanted - log(shape[0] / shape[1])))
    return Grid(rows, columns)


def windows_matrix(rows: int, columns: int, windows: int) -> Tensor:
    """Weight of each cell of a map in each point of windows x windows windows, [points of all windows, cells]."""
    points = window_points(Grid(rows, columns))
    down, across = window_matrix(rows, windows, points[0]), window_matrix(columns, windows, points[1])
    return torch.einsum("iay,jbx->ijabyx", down, across).flatten(0, 3).flatten(1)


def window_matrix(size: int, windows: int, points: int) -> Tensor:
    """Weight of cell x in point a of window i along one axis, [windows, points, size].

    A point is the mean of ceil(window / points) bilinear samples; windows are at least one cell long.
    """
    # Step by step in float32, as in the reference; a half-precision default dtype must not affect locations.
    kind = torch.float32
    starts, ends = (torch.tensor([(i + e) * (size / windows) for i in range(windows)], dtype=kind) for e in (0, 1))
    bins = (ends - starts).clamp(min=1)[:, None, None] / points
    samples = ceil(max(size / windows, 1.0) / points)
    numbers, steps = torch.arange(points)[None, :, None], torch.arange(samples, dtype=kind)[None, None]
    places = starts[:, None, None] + numbers * bins + (steps + 0.5) * bins / samples
    below = places.floor().clamp(max=size - 1)
    share = torch.where(below >= size - 1, torch.zeros_like(places), places - below)
    above = (below + 1).clamp(max=size - 1)
    weights = F.one_hot(below.long(), size) * (1 - share)[..., None] + F.one_hot(above.long(), size) * share[..., None]
    # A sample more than a cell outside the map counts as zero.
    return weights.masked_fill((places > size)[..., None], 0).mean(dim=2)

"""Windows of a map, one for each query: their places, and the points that are sampled in them."""

from math import ceil, log

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.connectors.separable import kept, multiplied, resized
from foveal.core import Grid

FEW_CELLS = 64
"""Up to this many cells in a map, one product for whole windows is faster than one for rows and one for columns."""


def windows(features: Tensor, grid: Grid, side: int) -> Tensor:
    """Sample the points of side x side windows of a map, windows and points row by row, in float32 or better.

    Args:
        features: [views, rows*columns, width], row by row.
        grid: its rows and columns.
        side: windows along each side of the map.

    Returns:
        [views*side*side, points of a window, width], in the dtype of `features`
    """
    if grid[0] * grid[1] <= FEW_CELLS:
        whole = kept(windows_matrix, *grid, side, like=features)
        of_views: Tensor = multiplied(features, whole).unflatten(1, (side * side, -1)).flatten(0, 1)
        return of_views.to(features.dtype)
    points = window_points(grid)
    down, across = (
        kept(window_matrix, size, side, count, like=features).flatten(0, 1)
        for size, count in zip(grid, points, strict=True)
    )
    sampled = resized(features, grid, down, across).unflatten(2, (side, points[1]))
    sampled = sampled.unflatten(1, (side, points[0])).transpose(2, 3)  # [views, i, j, a, b, width]
    result: Tensor = sampled.flatten(3, 4).flatten(0, 2).to(features.dtype)
    return result


def window_points(grid: Grid) -> Grid:
    """Rows and columns of points in a window: the one of seven shapes that is closest to the view's aspect ratio."""
    shapes = ((4, 2), (3, 2), (4, 3), (3, 3), (2, 4), (2, 3), (3, 4))
    wanted = log(grid[1] / grid[0])
    columns, rows = min(shapes, key=lambda shape: abs(wanted - log(shape[0] / shape[1])))
    return Grid(rows, columns)


def points_of(grid: Grid, side: int) -> int:
    """The number of points in all side x side windows of a map."""
    return window_points(grid).cells * side * side


def windows_matrix(rows: int, columns: int, side: int) -> Tensor:
    """Weight of each cell of a map in each point of side x side windows, [points of all windows, cells]."""
    points = window_points(Grid(rows, columns))
    down, across = window_matrix(rows, side, points[0]), window_matrix(columns, side, points[1])
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

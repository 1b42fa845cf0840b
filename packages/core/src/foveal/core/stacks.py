"""Regroup the tokens of neighbouring tiles into stacks as long as one tile: DeepStack's sampling."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from foveal.core.geometry import Grid

Sampling = Literal["2d", "1d", "grid"]


def mosaic(tiles: Sequence[Tensor], tile_grid: Grid, grid: Grid) -> Tensor:
    """Lay the tiles of a picture side by side, as one map.

    Args:
        tiles: [..., rows*columns, width] each; cells within a tile, and the tiles themselves, are in row-major order.
        tile_grid: rows and columns of tiles.
        grid: rows and columns of cells of each tile.

    Returns:
        [..., tile rows * rows, tile columns * columns, width]

    Raises:
        ValueError: if the number of tiles is not that of `tile_grid`.
    """
    if len(tiles) != tile_grid[0] * tile_grid[1]:
        raise ValueError(f"{len(tiles)} tiles for a tile grid of {tile_grid[0]}x{tile_grid[1]}")
    planes = torch.stack(tuple(tiles), dim=-3).unflatten(-2, grid).unflatten(-4, tile_grid)
    whole: Tensor = planes.transpose(-4, -3).flatten(-5, -4).flatten(-3, -2)
    return whole


def stacks_of(tiles: Sequence[Tensor], tile_grid: Grid, grid: Grid, sampling: Sampling = "2d") -> list[Tensor]:
    """Regroup tiles into as many stacks, each as long as one tile (DeepStack, arXiv 2406.04334, section 3.2).

    Args:
        tiles: see `mosaic`.
        tile_grid: rows and columns of tiles.
        grid: rows and columns of cells of each tile.
        sampling: `2d`: stack (a, b) holds every cell whose row is a and whose column is b modulo the tile grid, so that
            at each position the stacks together hold the neighbours under one cell of the overview; `1d`: each stack
            holds every n-th cell of the map, row by row; `grid`: the tiles themselves.

    Returns:
        [..., rows*columns, width] each.

    Raises:
        ValueError: as `mosaic`, and for an unknown sampling.
    """
    whole = mosaic(tiles, tile_grid, grid)
    if sampling == "grid":
        return list(tiles)
    if sampling == "1d":
        flat = whole.flatten(-3, -2)
        return [flat[..., number :: len(tiles), :] for number in range(len(tiles))]
    if sampling != "2d":
        raise ValueError(f"sampling must be '2d', '1d' or 'grid', not {sampling!r}")
    return [
        whole[..., row :: tile_grid[0], column :: tile_grid[1], :].flatten(-3, -2)
        for row in range(tile_grid[0])
        for column in range(tile_grid[1])
    ]

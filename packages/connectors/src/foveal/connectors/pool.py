"""Adaptive pooling, then an MLP: DeCo."""

from collections.abc import Sequence

import torch
from torch import Tensor

from foveal.connectors.connector import Connector, Grid
from foveal.connectors.mlp import mlp
from foveal.connectors.separable import resized
from foveal.core import KeyMap

DECO = KeyMap({f"mlp_projector.{{}}.{kind}": f"layers.{{}}.{kind}" for kind in ("weight", "bias")})
"""The reference's names; LLaVA's `mlpNx_gelu` fits too, through its own key map."""


class AdaptivePool(Connector):
    """Average the map down to a fixed grid, then project (DeCo, arXiv 2405.20985, section 4).

    A cell (i, j) is the mean over rows floor(i*h/rows) to ceil((i+1)*h/rows) and likewise columns, so it may overlap
    its neighbour where the grids do not divide.

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
        rows: rows of tokens.
        columns: columns of tokens.
        depth: linear layers of the MLP.

    Raises:
        ValueError: if the grid of tokens or the MLP is empty.
    """

    def __init__(self, in_width: int, out_width: int, *, rows: int = 12, columns: int = 12, depth: int = 2) -> None:
        super().__init__()
        if min(rows, columns, depth) < 1:
            raise ValueError(f"rows, columns and depth are at least 1, not {rows}, {columns} and {depth}")
        self.in_width, self.out_width = in_width, out_width
        self.rows, self.columns, self.depth = rows, columns, depth
        self.layers = mlp(in_width, out_width, depth)

    def num_tokens(self, grid: Grid) -> int:
        return self.rows * self.columns

    def out_grid(self, grid: Grid) -> Grid | None:
        return self.rows, self.columns

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        features, grid = self.single(maps, grids, mask)
        pooled = resized(features, grid, pool_matrix(grid[0], self.rows), pool_matrix(grid[1], self.columns))
        tokens: Tensor = self.layers(pooled.flatten(1, 2).to(features.dtype))
        return tokens


def pool_matrix(size: int, cells: int) -> Tensor:
    """Along one axis: how much row x of the map gives to cell i, [cells, size]; a cell is the mean of its rows."""
    cell, place = torch.arange(cells)[:, None], torch.arange(size)
    inside = (place >= cell * size // cells) & (place < ((cell + 1) * size + cells - 1) // cells)
    return inside / inside.sum(dim=1, keepdim=True)

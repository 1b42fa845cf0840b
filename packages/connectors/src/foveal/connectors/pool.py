"""Pooling to a fixed grid: DeCo, LDPv2."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from foveal.connectors.connector import Connector, Widths, one_width
from foveal.connectors.mlp import mlp
from foveal.connectors.separable import resized
from foveal.core import Grid, KeyMap

DECO = KeyMap({f"mlp_projector.{{}}.{kind}": f"layers.{{}}.{kind}" for kind in ("weight", "bias")})
"""The reference's names; for LLaVA's `mlpNx_gelu` use its own key map."""

LDP = KeyMap(
    {
        f"{published}.{kind}": f"{ours}.{kind}"
        for published, ours in {"mlp.mlp.{}": "layers.{}", "peg.peg.0": "positions"}.items()
        for kind in ("weight", "bias")
    }
)
"""MobileVLM's names, after the prefix `mm_projector.`."""


class PooledConnector(Connector):
    """Base of all pools to a fixed grid: `rows` x `columns` tokens from any map."""

    rows: int
    columns: int

    def num_tokens(self, *grids: Grid) -> int:
        return self.rows * self.columns

    def out_grid(self, *grids: Grid) -> Grid | None:
        return Grid(self.rows, self.columns)

    def averaged(self, features: Tensor, grid: Grid) -> Tensor:
        """[views, cells, width] -> [views, rows*columns, width]; each result is the mean of its window."""
        pooled = resized(features, grid, pool_matrix(grid[0], self.rows), pool_matrix(grid[1], self.columns))
        return pooled.flatten(1, 2).to(features.dtype)

    def shares(self, grid: Grid) -> Tensor:
        """Share of every patch in the mean of every window, [rows*columns, cells], float64."""
        return self.averaged(torch.eye(grid[0] * grid[1], dtype=torch.float64)[None], grid)[0]

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """The windows alone: what a convolution such as `LdpV2`'s adds of their neighbours is left out."""
        return [self.shares(grids[0])]

    def keep_size(self, rows: int, columns: int) -> None:
        """Set `rows` and `columns`.

        Raises:
            ValueError: if either is below 1.
        """
        if min(rows, columns) < 1:
            raise ValueError(f"rows and columns must be at least 1, not {rows} and {columns}")
        self.rows, self.columns = rows, columns


class AdaptivePool(PooledConnector):
    """Average the map to a fixed grid, then project (DeCo, arXiv 2405.20985, section 4).

    Token (i, j) is the mean over rows floor(i*h/rows) to ceil((i+1)*h/rows), and likewise over columns, so windows
    overlap where the grids do not divide evenly.

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
        rows: rows of tokens.
        columns: columns of tokens.
        depth: linear layers of the MLP.

    Raises:
        ValueError: if the grid of tokens or the MLP is empty.
    """

    def __init__(self, in_width: Widths, out_width: int, *, rows: int = 12, columns: int = 12, depth: int = 2) -> None:
        super().__init__()
        self.in_width = in_width = one_width(in_width)
        self.keep_size(rows, columns)
        if depth < 1:
            raise ValueError(f"depth, the number of linear layers, must be at least 1, not {depth}")
        self.out_width, self.depth = out_width, depth
        self.layers = mlp(in_width, out_width, depth)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, rows*columns, out_width]."""
        features, grid = self.single(maps, grids, mask)
        tokens: Tensor = self.layers(self.averaged(features, grid))
        return tokens


class Pool(PooledConnector):
    """The averaging of `AdaptivePool` alone: a stage of a `Chain`.

    Args:
        in_width: channels of the features.
        rows: rows of cells after pooling.
        columns: columns of cells after pooling.

    Raises:
        ValueError: if the grid is empty.
    """

    def __init__(self, in_width: Widths, *, rows: int = 12, columns: int = 12) -> None:
        super().__init__()
        self.in_width = self.out_width = one_width(in_width)
        self.keep_size(rows, columns)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, rows*columns, in_width]."""
        features, grid = self.single(maps, grids, mask)
        return self.averaged(features, grid)


class LdpV2(PooledConnector):
    """An MLP, averaging to a fixed grid, and a depthwise convolution that encodes positions (MobileVLM V2, arXiv
    2402.03766, section 3.2).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
        rows: rows of tokens.
        columns: columns of tokens.

    Raises:
        ValueError: if the grid of tokens is empty.
    """

    def __init__(self, in_width: Widths, out_width: int, *, rows: int = 12, columns: int = 12) -> None:
        super().__init__()
        self.in_width = in_width = one_width(in_width)
        self.keep_size(rows, columns)
        self.out_width = out_width
        self.layers = mlp(in_width, out_width, 2)
        self.positions = nn.Conv2d(out_width, out_width, 3, padding=1, groups=out_width)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, rows*columns, out_width]."""
        features, grid = self.single(maps, grids, mask)
        plane = self.averaged(self.layers(features), grid).mT.unflatten(2, (self.rows, self.columns))
        tokens: Tensor = (plane + self.positions(plane)).flatten(2).mT
        return tokens


def pool_matrix(size: int, cells: int) -> Tensor:
    """Weight of row x of the map in cell i along one axis, [cells, size]; a cell is the mean of its rows."""
    cell, place = torch.arange(cells)[:, None], torch.arange(size)
    inside = (place >= cell * size // cells) & (place < ((cell + 1) * size + cells - 1) // cells)
    return inside / inside.sum(dim=1, keepdim=True, dtype=torch.float32)

"""Pooling: DeCo, LDPv2, and pooling over space and time."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.connector import Connector, Widths, one_width, several_widths
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


class StridedPool(Connector):
    """Strided pooling: a stage of a `Chain` (`mm_spatial_pool_mode` of LLaVA-NeXT).

    Args:
        in_width: channels of the features.
        stride: cells along one side of a window.
        mode: `average` or `max` over windows, dropping incomplete ones; or `bilinear` interpolation to the number of
            windows, rounded up.

    Raises:
        ValueError: if the stride is below 1 or the mode unknown.
    """

    def __init__(
        self, in_width: Widths, *, stride: int = 2, mode: Literal["average", "max", "bilinear"] = "average"
    ) -> None:
        super().__init__()
        self.in_width = self.out_width = one_width(in_width)
        if stride < 1 or mode not in ("average", "max", "bilinear"):
            raise ValueError(f"stride {stride} must be at least 1, mode {mode!r} average, max or bilinear")
        self.stride, self.mode = stride, mode

    def num_tokens(self, *grids: Grid) -> int:
        rows, columns = self._windows(grids[0])
        return rows * columns

    def out_grid(self, *grids: Grid) -> Grid | None:
        return self._windows(grids[0])

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, windows, in_width]."""
        features, grid = self.single(maps, grids, mask)
        windows, plane = self._windows(grid), features.mT.unflatten(2, grid)
        if self.mode == "bilinear":
            plane = F.interpolate(plane.float(), size=windows, mode="bilinear", align_corners=False).to(plane)
        else:
            plane = (F.avg_pool2d if self.mode == "average" else F.max_pool2d)(plane, self.stride)
        return plane.flatten(2).mT

    def _windows(self, grid: Grid) -> Grid:
        if min(grid) < self.stride and self.mode != "bilinear":
            raise ValueError(f"a grid of {grid[0]}x{grid[1]} is smaller than a window of {self.stride}")
        up = self.stride - 1 if self.mode == "bilinear" else 0
        return Grid((grid[0] + up) // self.stride, (grid[1] + up) // self.stride)


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


class SpaceTimePool(PooledConnector):
    """Average the frames of a video in time and space (PLLaVA, arXiv 2404.16994, section 3.2); one map per frame.

    Tokens are ordered by time slot, and row by row within a slot.

    Args:
        in_width: channels of every frame's features, all equal.
        out_width: channels of the language model.
        slots: number of time slots after pooling.
        rows: rows of tokens per slot.
        columns: columns of tokens per slot.
        pool_first: whether to average before the MLP, which costs less; the published models average after it.

    Raises:
        ValueError: if a size is below 1, or the widths differ.
    """

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        slots: int = 16,
        rows: int = 12,
        columns: int = 12,
        pool_first: bool = False,
    ) -> None:
        super().__init__()
        self.in_width = several_widths(in_width, equal=True)
        self.keep_size(rows, columns)
        if slots < 1:
            raise ValueError(f"slots must be at least 1, not {slots}")
        self.out_width, self.slots, self.pool_first = out_width, slots, pool_first
        self.layers = mlp(self.in_width[0], out_width, 2)

    def num_tokens(self, *grids: Grid) -> int:
        return self.slots * self.rows * self.columns

    def out_grid(self, *grids: Grid) -> Grid | None:
        return None

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] per frame -> [views, slots*rows*columns, out_width]."""
        maps, grids = self.checked(maps, grids, mask)
        frames = list(maps) if self.pool_first else [self.layers(features) for features in maps]
        small = torch.stack([self.averaged(*each) for each in zip(frames, grids, strict=True)], dim=1)
        in_time = pool_matrix(len(frames), self.slots).to(small)
        pooled = torch.einsum("st,vtnc->vsnc", in_time, small).flatten(1, 2)
        return self.layers(pooled) if self.pool_first else pooled


def pool_matrix(size: int, cells: int) -> Tensor:
    """Weight of row x of the map in cell i along one axis, [cells, size]; a cell is the mean of its rows."""
    cell, place = torch.arange(cells)[:, None], torch.arange(size)
    inside = (place >= cell * size // cells) & (place < ((cell + 1) * size + cells - 1) // cells)
    return inside / inside.sum(dim=1, keepdim=True, dtype=torch.float32)

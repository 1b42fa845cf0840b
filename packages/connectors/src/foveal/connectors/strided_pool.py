"""Strided pooling, as in LLaVA-NeXT."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.connectors.connector import Connector, Widths, one_width
from foveal.core import Grid


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
        return self._pooled(*self.single(maps, grids, mask))

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """Nothing is known in advance of `max`: every channel has its own largest patch."""
        if self.mode == "max":
            return None
        cells = torch.eye(grids[0][0] * grids[0][1])
        return [self._pooled(cells[None], grids[0])[0].double()]

    def _pooled(self, features: Tensor, grid: Grid) -> Tensor:
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

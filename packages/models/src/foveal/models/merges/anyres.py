"""Join the tiles of a picture into one map without padding, with a newline after each row: LLaVA-NeXT."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core import Grid, Size, mosaic
from foveal.models.merges.merge import Merge, Merged, overview_and_tiles
from foveal.models.views.anyres import kept_region

LARGEST_EXCESS = 1.1
"""How far the side of a map may exceed its limit before the map is shrunk (LLaVA-OneVision)."""


class AnyResMerge(Merge):
    """The overview, then the tiles (LLaVA-NeXT, released code; LLaVA-1.5-HD, arXiv 2310.03744, section 4.1).

    Of a plan with a single view, the tokens stay as they are, with one newline at the end if there is one (LLaVA-NeXT's
    code, llava/model/llava_arch.py, the branch of a picture with one view).

    Args:
        width: channels of the language model.
        kind: `spatial_unpad`: the tiles as one map, without the rows or columns that hold only padding, with a learned
            newline at the end of each row; `spatial`: the whole map row by row; `flat`: tile after tile.
        max_tiles: with `spatial_unpad`, shrink a map that has more tokens than this many tiles (LLaVA-OneVision's
            `anyres_max`, arXiv 2408.03326, section 3.2); None: never shrink.
        rounded: how the padding is measured, see `kept_region`: as in transformers rather than as in the original code.

    Raises:
        ValueError: for an unknown kind, or if `max_tiles` is below 1 or used without `spatial_unpad`.
    """

    def __init__(
        self,
        width: int,
        *,
        kind: Literal["spatial_unpad", "spatial", "flat"] = "spatial_unpad",
        max_tiles: int | None = None,
        rounded: bool = False,
    ) -> None:
        super().__init__()
        if kind not in ("spatial_unpad", "spatial", "flat"):
            raise ValueError(f"tiles are merged spatial_unpad, spatial or flat, not {kind!r}")
        if max_tiles is not None and (max_tiles < 1 or kind != "spatial_unpad"):
            raise ValueError(f"max_tiles {max_tiles} must be at least 1 and belongs to spatial_unpad, not to {kind}")
        self.width, self.kind, self.max_tiles, self.rounded = width, kind, max_tiles, rounded
        self.newline = nn.Parameter(torch.randn(width) / math.sqrt(width)) if kind == "spatial_unpad" else None

    def num_tokens(self, grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> int:
        if tile_grid is None and len(grids) == 1:
            return grids[0][0] * grids[0][1] + int(self.newline is not None)
        grid, tile_grid = overview_and_tiles(type(self).__name__, grids, tile_grid)
        if self.newline is None:
            return len(grids) * grid[0] * grid[1]
        rows, columns = self._shrunk(_extent(kept_region(size, tile_grid, grid, rounded=self.rounded)), grid)
        return grid[0] * grid[1] + rows * (columns + 1)

    def forward(self, tokens: Sequence[Tensor], grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> Merged:
        """[rows*columns, width] per view -> [num_tokens, width], no stacks."""
        if tile_grid is None and len(grids) == 1:
            ends = [] if self.newline is None else [self.newline.to(tokens[0].dtype)[None]]
            return Merged(torch.cat([tokens[0], *ends]))
        grid, tile_grid = overview_and_tiles(type(self).__name__, grids, tile_grid)
        overview, *tiles = tokens
        if self.kind == "flat":
            return Merged(torch.cat(tuple(tokens)))
        plane = mosaic(tiles, tile_grid, grid)
        if self.newline is None:
            return Merged(torch.cat((overview, plane.flatten(0, 1))))
        top, bottom, left, right = region = kept_region(size, tile_grid, grid, rounded=self.rounded)
        plane = plane[top:bottom, left:right]
        extent = _extent(region)
        if (smaller := self._shrunk(extent, grid)) != extent:
            resized = F.interpolate(plane.movedim(-1, 0)[None], size=smaller, mode="bilinear", align_corners=False)
            plane = resized[0].movedim(0, -1)
        return Merged(torch.cat((overview, with_newlines(plane, self.newline))))

    def _shrunk(self, extent: Grid, grid: Grid) -> Grid:
        """The map's rows and columns after `max_tiles` is applied."""
        if self.max_tiles is None:
            return extent
        rows, columns = extent
        excess = math.sqrt(rows * columns / (self.max_tiles * grid[0] * grid[1]))
        if excess <= LARGEST_EXCESS:
            return extent
        return Grid(max(int(rows // excess), 1), max(int(columns // excess), 1))


def with_newlines(plane: Tensor, newline: Tensor) -> Tensor:
    """[rows, columns, width] -> [rows * (columns + 1), width], with `newline` [width] after every row."""
    ends = newline.to(plane.dtype).expand(len(plane), 1, -1)
    return torch.cat((plane, ends), dim=1).flatten(0, 1)


def _extent(region: tuple[int, int, int, int]) -> Grid:
    top, bottom, left, right = region
    return Grid(bottom - top, right - left)

"""Stack the tiles' tokens under those of the overview: DeepStack, and the sequences it is compared with."""

from collections.abc import Sequence
from math import isqrt
from typing import Literal

import torch
from torch import Tensor, nn

from foveal.core import Grid, Size, mosaic, stacks_of
from foveal.models.merges.anyres import with_newlines
from foveal.models.merges.merge import Merge, Merged, overview_and_tiles

Sampling = Literal["2d", "1d", "grid", "overview", "none"]


class DeepStackMerge(Merge):
    """The overview as sequence, the tiles as stacks for early decoder layers (arXiv 2406.04334, section 3.2, eq. 4, 5).

    Adds no parameters and no tokens. A picture with fewer tiles has fewer stacks. The published models use the
    defaults; the other values are those of the paper's ablations (figure 3, tables 5 to 7).

    Args:
        width: channels of the language model.
        start_layer: decoder layer before which the first stack is added; 0: to the embeddings.
        interval: layers from one stack to the next.
        stacks: maximum number of stacks of a picture, at least the plan's number of tiles.
        sampling: which tokens form a stack. `2d`: every n-th row and column of the tiles' map, so that at each position
            the stacks hold the part of the picture under the overview's token; `1d`: every n-th token of the map, row
            by row; `grid`: one tile each; `overview`: the overview's tokens again, `stacks` times; `none`: no tiles.
        overview: `input`: the overview is the sequence; `stacked`: the sequence is zero, the overview the first stack.

    Raises:
        ValueError: for contradictory or out-of-range settings.
    """

    def __init__(
        self,
        width: int,
        *,
        start_layer: int = 1,
        interval: int = 1,
        stacks: int = 4,
        sampling: Sampling = "2d",
        overview: Literal["input", "stacked"] = "input",
    ) -> None:
        super().__init__()
        if sampling not in ("2d", "1d", "grid", "overview", "none") or overview not in ("input", "stacked"):
            raise ValueError(
                f"sampling {sampling!r} must be 2d, 1d, grid, overview or none, overview {overview!r} input or stacked"
            )
        number = (0 if sampling == "none" else stacks) + (overview == "stacked")
        if number == 0:
            raise ValueError("nothing is stacked: sampling 'none' goes with overview 'stacked'")
        self.layers = _layers(start_layer, interval, number, stacks)
        self.width, self.start_layer, self.interval, self.stacks = width, start_layer, interval, stacks
        self.sampling: Sampling = sampling
        self.overview = overview

    def num_tokens(self, grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> int:
        (rows, columns), tile_grid = overview_and_tiles(type(self).__name__, grids, tile_grid)
        _check_stacks(tile_grid[0] * tile_grid[1], self.stacks)
        return rows * columns

    def forward(self, tokens: Sequence[Tensor], grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> Merged:
        """[rows*columns, width] per view -> one sequence [rows*columns, width], and stacks of the same shape."""
        grid, tile_grid = overview_and_tiles(type(self).__name__, grids, tile_grid)
        _check_stacks(tile_grid[0] * tile_grid[1], self.stacks)
        overview, *tiles = tokens
        if self.sampling == "none":
            stacks = []
        elif self.sampling == "overview":
            stacks = [overview] * self.stacks
        else:
            stacks = stacks_of(tiles, tile_grid, grid, self.sampling)
        if self.overview == "stacked":
            return Merged(torch.zeros_like(overview), (overview, *stacks))
        return Merged(overview, tuple(stacks))


class SequenceMerge(Merge):
    """Overview and stacks concatenated into one sequence, the length DeepStack saves (arXiv 2406.04334, table 7).

    Args:
        width: channels of the language model.
        overview: begin with the overview; without it only the high-resolution tokens are read.
    """

    def __init__(self, width: int, *, overview: bool = True) -> None:
        super().__init__()
        self.width, self.overview = width, overview

    def num_tokens(self, grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> int:
        (rows, columns), tile_grid = overview_and_tiles(type(self).__name__, grids, tile_grid)
        return (tile_grid[0] * tile_grid[1] + self.overview) * rows * columns

    def forward(self, tokens: Sequence[Tensor], grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> Merged:
        """[rows*columns, width] per view -> [num_tokens, width], no stacks."""
        grid, tile_grid = overview_and_tiles(type(self).__name__, grids, tile_grid)
        overview, *tiles = tokens
        stacks = stacks_of(tiles, tile_grid, grid)
        return Merged(torch.cat((overview, *stacks) if self.overview else tuple(stacks)))


class DeepStackHdMerge(Merge):
    """AnyRes as the sequence, enlarged crops of every view as the stacks: DeepStack-L-HD (released code).

    The sequence is the overview and then the tiles' map, with a learned newline after each row. A stack has the same
    layout, newlines included, so the newline is added again at every layer, as in the released model.

    Args:
        width: channels of the language model.
        start_layer: decoder layer before which the first stack is added.
        interval: layers from one stack to the next.
        stacks: crops of every view: the largest square number that is at most `DeepStackHdPlan`'s `crops`.

    Raises:
        ValueError: for out-of-range settings, or if `stacks` is not a square number.
    """

    def __init__(self, width: int, *, start_layer: int = 1, interval: int = 1, stacks: int = 4) -> None:
        super().__init__()
        self.layers = _layers(start_layer, interval, stacks, stacks)
        if isqrt(stacks) ** 2 != stacks:
            raise ValueError(f"{stacks} crops of a view do not form a square: use a square number")
        self.width, self.start_layer, self.interval, self.stacks = width, start_layer, interval, stacks
        self.newline = nn.Parameter(torch.zeros(width))

    def num_tokens(self, grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> int:
        (rows, columns), tiles = overview_and_tiles(type(self).__name__, grids, tile_grid, sets=1 + self.stacks)
        return rows * columns + tiles[0] * rows * (tiles[1] * columns + 1)

    def forward(self, tokens: Sequence[Tensor], grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> Merged:
        """[rows*columns, width] per view or crop -> [num_tokens, width], and `stacks` stacks of the same shape."""
        grid, tile_grid = overview_and_tiles(type(self).__name__, grids, tile_grid, sets=1 + self.stacks)
        views = 1 + tile_grid[0] * tile_grid[1]
        side = isqrt(self.stacks)
        enlarged = [tokens[start : start + self.stacks] for start in range(views, len(tokens), self.stacks)]
        stacks = [stacks_of(crops, Grid(side, side), grid) for crops in enlarged]
        layers = [tokens[:views], *zip(*stacks, strict=True)]
        context, *added = (self._laid_out(layer, tile_grid, grid) for layer in layers)
        return Merged(context, tuple(added))

    def _laid_out(self, views: Sequence[Tensor], tile_grid: Grid, grid: Grid) -> Tensor:
        overview, *tiles = views
        return torch.cat((overview, with_newlines(mosaic(tiles, tile_grid, grid), self.newline)))


def _layers(start_layer: int, interval: int, number: int, stacks: int) -> tuple[int, ...]:
    if start_layer < 0 or interval < 1 or stacks < 1:
        raise ValueError(
            f"start_layer {start_layer} must be at least 0, interval {interval} and stacks {stacks} at least 1"
        )
    return tuple(range(start_layer, start_layer + number * interval, interval))


def _check_stacks(tiles: int, stacks: int) -> None:
    if tiles > stacks:
        raise ValueError(f"the plan cuts {tiles} tiles, the merge takes {stacks} stacks: raise stacks")

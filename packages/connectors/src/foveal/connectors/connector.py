"""What every connector promises, and ragged views through it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foveal.core import group_by

Grid = tuple[int, int]


class Connector(nn.Module, ABC):
    """Turns the feature maps of views into tokens of the language model.

    The constructor of every connector begins with `in_width, out_width`: the channels of the encoder and those of the
    language model.

    Attributes:
        in_width: channels of the features.
        out_width: channels of the language model.
        prefix_tokens: rows that each map has before those of its grid, as a class token.
        supports_mask: whether `forward` takes a mask over the rows of the map.
    """

    in_width: int
    out_width: int
    prefix_tokens: int = 0
    supports_mask: bool = False

    @abstractmethod
    def num_tokens(self, grid: Grid) -> int:
        """Tokens of a view whose map has this grid of rows and columns; nothing is computed."""

    @abstractmethod
    def out_grid(self, grid: Grid) -> Grid | None:
        """Rows and columns in which the tokens lie; None: they have no order in the plane."""

    @abstractmethod
    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """The tokens of views of one grid.

        Args:
            maps: [views, prefix_tokens + rows*columns, in_width] per layer, row by row.
            grids: (rows, columns) of each map.
            mask: [views, rows*columns] of bool, True at rows that count; only where `supports_mask`.

        Returns:
            [views, num_tokens(grid), out_width]

        Raises:
            ValueError: if there is not one map, its grid is empty, it does not have the rows of its grid, or a mask is
                not supported.
        """

    def single(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None) -> tuple[Tensor, Grid]:
        """The one map and its grid, checked; for connectors that take one."""
        name = type(self).__name__
        if len(maps) != 1 or len(grids) != 1:
            raise ValueError(f"{name} takes one map with its grid, not {len(maps)} maps and {len(grids)} grids")
        (features,), (grid,) = maps, grids
        if min(grid) < 1:
            raise ValueError(f"{name} takes a grid of at least 1x1, not {grid[0]}x{grid[1]}")
        rows = self.prefix_tokens + grid[0] * grid[1]
        if features.ndim != 3 or features.shape[1:] != (rows, self.in_width):
            raise ValueError(
                f"{name} takes [views, {rows}, {self.in_width}] for a grid of {grid[0]}x{grid[1]} and "
                f"{self.prefix_tokens} prefix tokens, not {tuple(features.shape)}"
            )
        if mask is not None and not self.supports_mask:
            raise ValueError(f"{name} takes no mask: group views by grid instead of padding them")
        if mask is not None and (mask.shape != features.shape[:2] or mask.dtype != torch.bool):
            raise ValueError(f"the mask must be bool {tuple(features.shape[:2])}, not {mask.dtype} {tuple(mask.shape)}")
        return features, grid


def grouped(connector: Connector, maps: Sequence[Sequence[Tensor]], grids: Sequence[Sequence[Grid]]) -> list[Tensor]:
    """The tokens of views of any grids: one dense call for each kind of grid; the same numbers as one by one.

    Args:
        connector: any.
        maps: for each view its maps, [prefix_tokens + rows*columns, in_width] each.
        grids: for each view the grids of its maps.

    Returns:
        For each view [tokens, out_width], in the order of `maps`.

    Raises:
        ValueError: if there are not as many grids as views, or a view's maps do not have the rows of their grids.
    """
    if len(maps) != len(grids):
        raise ValueError(f"{len(maps)} views, {len(grids)} grids")
    for number, (of_view, grids_of_view) in enumerate(zip(maps, grids, strict=True)):
        found = [len(each) for each in of_view]
        wanted = [connector.prefix_tokens + rows * columns for rows, columns in grids_of_view]
        if found != wanted:
            raise ValueError(f"view {number}: its maps have {found} rows, those of its grids would have {wanted}")
    tokens: list[Tensor] = [torch.empty(0)] * len(maps)
    for of_views, indices in group_by(tuple(of_view) for of_view in grids).items():
        stacked = [torch.stack(layer) for layer in zip(*(maps[index] for index in indices), strict=True)]
        for index, result in zip(indices, connector(stacked, of_views), strict=True):
            tokens[index] = result
    return tokens

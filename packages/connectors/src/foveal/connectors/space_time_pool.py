"""Pooling over space and time: PLLaVA."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from foveal.connectors.connector import Widths, several_widths
from foveal.connectors.mlp import mlp
from foveal.connectors.pool import PooledConnector, pool_matrix
from foveal.core import Grid


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

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        in_time = pool_matrix(len(grids), self.slots).double()
        return [torch.kron(in_time[:, number, None], self.shares(grid)) for number, grid in enumerate(grids)]

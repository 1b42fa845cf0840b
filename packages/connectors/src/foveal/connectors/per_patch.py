"""Connectors that make one token of every patch."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from foveal.connectors.connector import Connector
from foveal.core import Grid


class PerPatch(Connector):
    """A connector whose tokens are the rows of its only map, each computed from its row alone."""

    needs_grid = False

    def num_tokens(self, *grids: Grid) -> int:
        ((rows, columns),) = grids
        return self.prefix_tokens + rows * columns

    def out_grid(self, *grids: Grid) -> Grid | None:
        return grids[0] if self.prefix_tokens == 0 else None

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """Every token is its own row."""
        return [torch.eye(self.num_tokens(*grids), dtype=torch.float64)]

"""A linear layer per map, then an MLP over all: DeepSeek-VL."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from foveal.connectors.connector import Connector, Widths, several_widths
from foveal.core import Grid


class SplitMlp(Connector):
    """A linear layer per map, concatenated along channels, then GELU and a linear layer over all (DeepSeek-VL, arXiv
    2403.05525, section 3.1).

    Args:
        in_width: channels of every map.
        out_width: channels of the language model, divided among the maps.

    Raises:
        ValueError: if there is only one map, or the width does not divide.
    """

    def __init__(self, in_width: Widths, out_width: int) -> None:
        super().__init__()
        self.in_width = several_widths(in_width)
        self.out_width = out_width
        if out_width % len(self.in_width):
            raise ValueError(f"{out_width} channels cannot be divided among {len(self.in_width)} maps")
        share = out_width // len(self.in_width)
        self.up = nn.ModuleList(nn.Linear(width, share) for width in self.in_width)
        self.out = nn.Linear(out_width, out_width)

    def num_tokens(self, *grids: Grid) -> int:
        if len(set(grids)) > 1:
            raise ValueError(f"SplitMlp joins maps cell by cell, but their grids differ: {list(grids)}")
        return grids[0][0] * grids[0][1]

    def out_grid(self, *grids: Grid) -> Grid | None:
        return grids[0]

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, width] per map -> [views, cells, out_width]."""
        maps, grids = self.checked(maps, grids, mask)
        self.num_tokens(*grids)
        joined = torch.cat([up(features) for up, features in zip(self.up, maps, strict=True)], dim=-1)
        result: Tensor = self.out(nn.functional.gelu(joined))
        return result

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """Every map alike: each has as many of the channels."""
        own = torch.eye(self.num_tokens(*grids), dtype=torch.float64)
        return [own / len(grids)] * len(grids)

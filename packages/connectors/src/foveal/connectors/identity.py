"""Features as they are."""

from collections.abc import Sequence

from torch import Tensor

from foveal.connectors.connector import Connector, Widths, one_width
from foveal.core import Grid


class Identity(Connector):
    """One token per patch, its features unchanged: `identity` in LLaVA's code (multimodal_projector/builder.py).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model, as many.
        prefix_tokens: rows before the grid that become tokens too (LLaVA's `cls_patch` has one).

    Raises:
        ValueError: if the widths differ.
    """

    needs_grid = False

    def __init__(self, in_width: Widths, out_width: int, *, prefix_tokens: int = 0) -> None:
        super().__init__()
        self.in_width = in_width = one_width(in_width)
        if in_width != out_width:
            raise ValueError(f"features of width {in_width} cannot enter a language model of width {out_width} as is")
        self.out_width, self.prefix_tokens = out_width, prefix_tokens

    def num_tokens(self, *grids: Grid) -> int:
        ((rows, columns),) = grids
        return self.prefix_tokens + rows * columns

    def out_grid(self, *grids: Grid) -> Grid | None:
        return grids[0] if self.prefix_tokens == 0 else None

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, prefix_tokens + cells, in_width] -> the same."""
        features, _ = self.single(maps, grids, mask)
        return features

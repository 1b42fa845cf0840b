"""Features as they are."""

from collections.abc import Sequence

from torch import Tensor

from foveal.connectors.connector import Widths, one_width
from foveal.connectors.per_patch import PerPatch
from foveal.core import Grid


class Identity(PerPatch):
    """One token per patch, its features unchanged: `identity` in LLaVA's code (multimodal_projector/builder.py).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model, as many.
        prefix_tokens: rows before the grid that become tokens too (LLaVA's `cls_patch` has one).

    Raises:
        ValueError: if the widths differ.
    """

    def __init__(self, in_width: Widths, out_width: int, *, prefix_tokens: int = 0) -> None:
        super().__init__()
        self.in_width = in_width = one_width(in_width)
        if in_width != out_width:
            raise ValueError(f"features of width {in_width} cannot enter a language model of width {out_width} as is")
        self.out_width, self.prefix_tokens = out_width, prefix_tokens

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, prefix_tokens + cells, in_width] -> the same."""
        features, _ = self.single(maps, grids, mask)
        return features

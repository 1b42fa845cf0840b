"""The tokens of all views one after the other, with a separator behind them: DeepSeek-OCR 2."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foveal.core import Grid, Size
from foveal.models.merges.merge import Merge, Merged


class SeparatorMerge(Merge):
    """The tokens of all views, in the plan's order, then one learned token (DeepSeek-OCR 2, arXiv 2601.20552; released
    code and transformers' `deepseek_ocr2`, `view_separator`). Views may have different numbers of tokens.

    Args:
        width: channels of the language model.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.separator = nn.Parameter(torch.randn(width) * width**-0.5)

    def num_tokens(self, grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> int:
        return sum(grid.cells for grid in grids) + 1

    def forward(self, tokens: Sequence[Tensor], grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> Merged:
        """[tokens, width] per view -> [all tokens + 1, width]."""
        return Merged(torch.cat([*tokens, self.separator.to(tokens[0])[None]]))

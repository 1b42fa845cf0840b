"""Tokens of several levels of one view: the first enters the sequence, the others decoder layers."""

from collections.abc import Sequence

from torch import Tensor

from foveal.core import Grid, Size
from foveal.models.merges.merge import Merge, Merged


class LevelsMerge(Merge):
    """The first level as the sequence, the others as stacks for early decoder layers: Qwen3-VL (arXiv 2511.21631).

    Adds no parameters and no tokens. The tokens keep the grid of the view, for a language model with positions on it.

    Args:
        width: channels of the language model.
        levels: levels of the connector's tokens, at least 2.
        start_layer: decoder layer before which the second level is added, the third before the next, and so on; 1 is
            Qwen3-VL's, whose code adds them after the layers 0, 1, 2.

    Raises:
        ValueError: for out-of-range settings.
    """

    on_grid = True

    def __init__(self, width: int, *, levels: int = 4, start_layer: int = 1) -> None:
        super().__init__()
        if levels < 2 or start_layer < 0:
            raise ValueError(f"levels {levels} must be at least 2, start_layer {start_layer} at least 0")
        self.width, self.levels, self.start_layer = width, levels, start_layer
        self.layers = tuple(range(start_layer, start_layer + levels - 1))

    def num_tokens(self, grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> int:
        return self.grid(grids, tile_grid, size).cells

    def grid(self, grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> Grid:
        if len(grids) != 1:
            raise ValueError(
                f"LevelsMerge takes one view of a picture, the plan makes {len(grids)}: use a plan of one view, such "
                "as PadToSquare"
            )
        return grids[0]

    def forward(self, tokens: Sequence[Tensor], grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> Merged:
        """[levels, rows*columns, width] of the only view -> [rows*columns, width], and a stack for each other level."""
        self.grid(grids, tile_grid, size)
        first, *others = tokens[0]
        return Merged(first, tuple(others))

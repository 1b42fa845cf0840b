"""Merge blocks of 2x2 cells by an MLP: MiniCPM-V 4.6."""

from collections.abc import Sequence

from torch import Tensor, nn

from foveal.connectors.connector import Connector, Widths, one_width
from foveal.connectors.shuffle import KINDS, shuffled
from foveal.core import Grid, KeyMap

RATIO = 2
"""Cells along one side of a block."""

TRANSFORMERS = KeyMap(
    {
        f"mlp.0.{published}.{kind}": f"{ours}.{kind}"
        for published, ours in {"pre_norm": "norm", "linear_1": "up", "linear_2": "down"}.items()
        for kind in KINDS
    }
)
"""transformers' names for MiniCPM-V 4.6, after the prefix `model.merger.`."""


class DownsampleMlp(Connector):
    """Each block of 2x2 cells becomes one token: the cells side by side, a norm, a square linear layer, the exact GELU
    and a linear layer (LLaVA-UHD v4, arXiv 2605.08985, section 2; transformers' MiniCPMV4_6Merger).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
    """

    def __init__(self, in_width: Widths, out_width: int) -> None:
        super().__init__()
        self.in_width = in_width = one_width(in_width)
        self.out_width = out_width
        block = RATIO * RATIO * in_width
        self.norm = nn.LayerNorm(block, eps=1e-6)
        self.up = nn.Linear(block, block)
        self.down = nn.Linear(block, out_width)

    def num_tokens(self, *grids: Grid) -> int:
        return self._blocks(grids[0]).cells

    def out_grid(self, *grids: Grid) -> Grid | None:
        return self._blocks(grids[0])

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, cells / 4, out_width]."""
        features, grid = self.single(maps, grids, mask)
        blocks = self.norm(shuffled(features, self._blocks(grid), RATIO))
        tokens: Tensor = self.down(nn.functional.gelu(self.up(blocks)))
        return tokens

    @staticmethod
    def _blocks(grid: Grid) -> Grid:
        """Rows and columns of tokens.

        Raises:
            ValueError: if blocks do not fill the grid.
        """
        if grid[0] % RATIO or grid[1] % RATIO:
            raise ValueError(
                f"a grid of {grid[0]}x{grid[1]} does not divide into blocks of {RATIO}x{RATIO} cells: choose views "
                "whose grid does"
            )
        return Grid(grid[0] // RATIO, grid[1] // RATIO)

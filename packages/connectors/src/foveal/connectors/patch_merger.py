"""Merge blocks of neighbouring cells by an MLP as wide as the block: Qwen's patch merger."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from foveal.connectors.connector import Connector, Widths, one_width
from foveal.connectors.shuffle import KINDS, block_shares, blocks_of, check_ratio, shuffled
from foveal.core import Grid, KeyMap

TRANSFORMERS = KeyMap(
    {
        f"{published}.{kind}": f"{ours}.{kind}"
        for published, ours in {"norm": "norm", "linear_fc1": "layers.0", "linear_fc2": "layers.2"}.items()
        for kind in KINDS
    }
)
"""transformers' names, after the prefix `model.visual.merger.` or `model.visual.deepstack_merger_list.0.`."""

MINICPM = KeyMap(
    {
        f"mlp.0.{published}.{kind}": f"{ours}.{kind}"
        for published, ours in {"pre_norm": "norm", "linear_1": "layers.0", "linear_2": "layers.2"}.items()
        for kind in KINDS
    }
)
"""transformers' names for MiniCPM-V 4.6, after the prefix `model.merger.`."""


class PatchMerger(Connector):
    """Each block of `ratio` x `ratio` cells becomes one token: layer norm, space to depth, two linear layers.

    From Qwen2-VL (arXiv 2409.12191, section 2.1). Unlike in `PixelShuffle`, the norm is one of single cells, and the
    layer in the middle is as wide as the block. Qwen3-VL's mergers of deep levels (arXiv 2511.21631) norm whole blocks,
    and so does the merger of MiniCPM-V 4.6 (LLaVA-UHD v4, arXiv 2605.08985, section 2).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
        ratio: cells along one side of a block.
        norm_blocks: norm blocks instead of cells.

    Raises:
        ValueError: if `ratio` is below 1.
    """

    def __init__(self, in_width: Widths, out_width: int, *, ratio: int = 2, norm_blocks: bool = False) -> None:
        super().__init__()
        self.in_width = in_width = one_width(in_width)
        self.out_width, self.ratio, self.norm_blocks = out_width, check_ratio(ratio), norm_blocks
        block = ratio * ratio * in_width
        self.norm = nn.LayerNorm(block if norm_blocks else in_width, eps=1e-6)
        self.layers = nn.Sequential(nn.Linear(block, block), nn.GELU(), nn.Linear(block, out_width))

    def num_tokens(self, *grids: Grid) -> int:
        return blocks_of(grids[0], self.ratio).cells

    def out_grid(self, *grids: Grid) -> Grid | None:
        return blocks_of(grids[0], self.ratio)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, cells / ratio**2, out_width]."""
        features, grid = self.single(maps, grids, mask)
        blocks = blocks_of(grid, self.ratio)
        if self.norm_blocks:
            normed = self.norm(shuffled(features, blocks, self.ratio))
        else:
            normed = shuffled(self.norm(features), blocks, self.ratio)
        tokens: Tensor = self.layers(normed)
        return tokens

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        return [block_shares(grids[0], self.ratio)]

"""Merge neighbouring cells into one token, by stacking their channels or by a convolution."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from foveal.connectors.connector import Connector, Widths, one_width
from foveal.connectors.mlp import mlp
from foveal.core import Grid, KeyMap

KINDS = ("weight", "bias")

TRANSFORMERS = KeyMap(
    {
        f"{published}.{kind}": f"{ours}.{kind}"
        for published, ours in {"layer_norm": "norm", "linear_1": "layers.0", "linear_2": "layers.2"}.items()
        for kind in KINDS
    }
)
"""transformers' names for InternVL, after the prefix `model.multi_modal_projector.`."""

INTERNVL = KeyMap(
    {
        f"{published}.{kind}": f"{ours}.{kind}"
        for published, ours in {"0": "norm", "1": "layers.0", "3": "layers.2"}.items()
        for kind in KINDS
    }
)
"""The names in InternVL's own repository, after the prefix `mlp1.`."""

POOLER = KeyMap(
    {
        f"{published}.{kind}": f"{ours}.{kind}"
        for published, ours in {"conv_pool": "convolution", "proj.1": "projection"}.items()
        for kind in KINDS
    }
)
"""Names of LLaVA-NeXT's `pooler`, after the prefix `mm_projector.`."""


class PixelShuffle(Connector):
    """Each block of `ratio` x `ratio` cells becomes one token (InternVL 1.5, arXiv 2404.16821, section 3.1): space to
    depth, layer norm, two linear layers.

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
        ratio: cells along one side of a block.

    Raises:
        ValueError: if `ratio` is below 1.
    """

    def __init__(self, in_width: Widths, out_width: int, *, ratio: int = 2) -> None:
        super().__init__()
        self.in_width = in_width = one_width(in_width)
        self.out_width, self.ratio = out_width, check_ratio(ratio)
        self.norm = nn.LayerNorm(ratio * ratio * in_width)
        self.layers = mlp(ratio * ratio * in_width, out_width, 2)

    def num_tokens(self, *grids: Grid) -> int:
        return self.blocks(grids[0]).cells

    def out_grid(self, *grids: Grid) -> Grid | None:
        return self.blocks(grids[0])

    def blocks(self, grid: Grid) -> Grid:
        """Rows and columns of blocks.

        Raises:
            ValueError: if blocks do not fill the grid.
        """
        return blocks_of(grid, self.ratio)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, cells / ratio**2, out_width]."""
        features, grid = self.single(maps, grids, mask)
        tokens: Tensor = self.layers(self.norm(shuffled(features, self.blocks(grid), self.ratio)))
        return tokens

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        return [block_shares(grids[0], self.ratio)]


class ConvPool(Connector):
    """A 2x2 convolution of stride 2, GELU and a linear layer (`pooler` of LLaVA-NeXT).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
    """

    def __init__(self, in_width: Widths, out_width: int) -> None:
        super().__init__()
        self.in_width = in_width = one_width(in_width)
        self.out_width = out_width
        self.convolution = nn.Conv2d(in_width, out_width, 2, stride=2)
        self.projection = nn.Linear(out_width, out_width)

    def num_tokens(self, *grids: Grid) -> int:
        rows, columns = self._halved(grids[0])
        return rows * columns

    def out_grid(self, *grids: Grid) -> Grid | None:
        return self._halved(grids[0])

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, cells / 4, out_width]."""
        features, grid = self.single(maps, grids, mask)
        self._halved(grid)
        plane = self.convolution(features.mT.unflatten(2, grid))
        tokens: Tensor = self.projection(nn.functional.gelu(plane.flatten(2).mT))
        return tokens

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """The cells under the kernel alike, whatever its weights."""
        return [block_shares(grids[0], 2)]

    @staticmethod
    def _halved(grid: Grid) -> Grid:
        if grid[0] % 2 or grid[1] % 2:
            raise ValueError(f"a grid of {grid[0]}x{grid[1]} cannot be halved: its last row or column would be lost")
        return Grid(grid[0] // 2, grid[1] // 2)


def check_ratio(ratio: int) -> int:
    """The cells along one side of a block, if there are any.

    Raises:
        ValueError: if it is below 1.
    """
    if ratio < 1:
        raise ValueError(f"ratio must be at least 1, not {ratio}")
    return ratio


def blocks_of(grid: Grid, ratio: int) -> Grid:
    """Rows and columns of blocks of `ratio` x `ratio` cells.

    Raises:
        ValueError: if blocks do not fill the grid.
    """
    if grid[0] % ratio or grid[1] % ratio:
        raise ValueError(
            f"a grid of {grid[0]}x{grid[1]} does not divide into blocks of {ratio}x{ratio} cells: choose views whose "
            "grid does, or another ratio"
        )
    return Grid(grid[0] // ratio, grid[1] // ratio)


def cells_of_blocks(grid: Grid, ratio: int) -> Tensor:
    """Which cell of the map each cell of each block is, [blocks, ratio*ratio, cells], float64: 1, and 0 elsewhere."""
    cells = torch.eye(grid[0] * grid[1], dtype=torch.float64)
    in_blocks: Tensor = shuffled(cells[None], blocks_of(grid, ratio), ratio)[0].unflatten(1, (ratio**2, -1))
    return in_blocks


def block_shares(grid: Grid, ratio: int) -> Tensor:
    """Share of every cell in every block of `ratio` x `ratio` cells, all cells of a block alike, [blocks, cells]."""
    return cells_of_blocks(grid, ratio).mean(dim=1)


def shuffled(features: Tensor, blocks: Grid, ratio: int) -> Tensor:
    """[views, rows*columns, width] -> [views, blocks, ratio*ratio*width]; cells within a block are row by row."""
    plane = features.unflatten(1, (blocks[0], ratio, blocks[1], ratio)).transpose(2, 3)
    side_by_side: Tensor = plane.flatten(3, 5).flatten(1, 2)
    return side_by_side

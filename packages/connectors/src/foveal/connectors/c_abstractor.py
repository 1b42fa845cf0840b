"""Honeybee's C-Abstractor: convolutions before and after an average."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.connector import Widths, one_width
from foveal.connectors.placed import positions_for, small, with_end_rows, with_end_tokens
from foveal.connectors.pool import PooledConnector, pool_matrix
from foveal.connectors.separable import resized
from foveal.core import Grid, KeyMap

KINDS = ("weight", "bias")


def _block_rows(published: str, ours: str) -> dict[str | tuple[str, ...], str | None]:
    rows: dict[str | tuple[str, ...], str | None] = {}
    for number, name in ((1, "shrink"), (2, "depthwise"), (3, "grow")):
        rows[f"{published}.conv{number}.conv.weight"] = f"{ours}.{name}.weight"
        rows |= {f"{published}.conv{number}.bn.{kind}": f"{ours}.{name}_norm.{kind}" for kind in KINDS}
        if number < 3:
            gate = ("squeeze", "excite")[number - 1]
            rows |= {f"{published}.se.fc{number}.{kind}": f"{ours}.{gate}.{kind}" for kind in KINDS}
    rows[f"{published}.downsample.conv.weight"] = f"{ours}.skip.weight"
    return rows | {f"{published}.downsample.bn.{kind}": f"{ours}.skip_norm.{kind}" for kind in KINDS}


C_ABSTRACTOR = KeyMap(
    {
        "pos_emb": "positions",
        **{f"prenorm.{kind}": f"prenorm.{kind}" for kind in KINDS},
        "eos_tokens": "end_tokens",
        **_block_rows("net.0.b{}", "before.b{}"),
        **_block_rows("net.2.b{}", "after.b{}"),
        **{f"readout.{{}}.{kind}": f"layers.{{}}.{kind}" for kind in KINDS},
    }
)
"""The reference's names, after the prefix `abstractor.`."""


class CAbstractor(PooledConnector):
    """Convolutions before and after averaging to a fixed grid (Honeybee, arXiv 2312.06742, section 4.2).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
        rows: rows of tokens.
        columns: columns of tokens.
        base_grid: rows and columns of the learned positions, which are resampled bicubically for other grids.
        hidden_width: channels of the blocks.
        depth: number of blocks before, and again after, the averaging; 0: the readout follows directly.
        mlp_depth: linear layers of the readout.
        use_prenorm: whether to normalise before the positions are added.
        num_end_tokens: learned tokens appended at the end.

    Raises:
        ValueError: if a size is too small.
    """

    tables: ClassVar[tuple[str, ...]] = ("positions", "end_tokens")

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        rows: int = 12,
        columns: int = 12,
        base_grid: Grid = Grid(24, 24),
        hidden_width: int = 1024,
        depth: int = 3,
        mlp_depth: int = 2,
        use_prenorm: bool = False,
        num_end_tokens: int = 0,
    ) -> None:
        super().__init__()
        base_grid = Grid.of(base_grid)
        self.in_width = in_width = one_width(in_width)
        self.keep_size(rows, columns)
        if min(base_grid) < 1 or depth < 0 or mlp_depth < 1:
            raise ValueError(f"base_grid {base_grid}, depth {depth} or mlp_depth {mlp_depth} is too small")
        self.out_width, self.base_grid, self.hidden_width = out_width, base_grid, hidden_width
        self.depth, self.mlp_depth = depth, mlp_depth
        self.use_prenorm, self.num_end_tokens = use_prenorm, num_end_tokens
        self.positions = nn.Parameter(small(1, base_grid.cells, in_width))
        self.prenorm = nn.LayerNorm(in_width, eps=1e-6) if use_prenorm else None
        self.end_tokens = nn.Parameter(small(1, num_end_tokens, out_width)) if num_end_tokens else None
        widths = [in_width] + [hidden_width] * (2 * depth)
        blocks = [RegBlock(widths[number], hidden_width) for number in range(2 * depth)]
        self.before = nn.ModuleDict({f"b{number + 1}": block for number, block in enumerate(blocks[:depth])})
        self.after = nn.ModuleDict({f"b{number + 1}": block for number, block in enumerate(blocks[depth:])})
        readout: list[nn.Module] = [nn.Linear(hidden_width if depth else in_width, out_width)]
        for _ in range(mlp_depth - 1):
            readout += [nn.SiLU(), nn.Linear(out_width, out_width)]
        self.layers = nn.Sequential(*readout)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def num_tokens(self, *grids: Grid) -> int:
        return super().num_tokens(*grids) + self.num_end_tokens

    def out_grid(self, *grids: Grid) -> Grid | None:
        return None if self.num_end_tokens else super().out_grid(*grids)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, rows*columns + num_end_tokens, out_width]."""
        features, grid = self.single(maps, grids, mask)
        if self.prenorm is not None:
            features = self.prenorm(features)
        placed = features + positions_for(self.positions, self.base_grid, grid).to(features)
        plane = placed.unflatten(1, grid)
        for block in self.before.values():
            plane = block(plane)
        down, across = pool_matrix(grid[0], self.rows), pool_matrix(grid[1], self.columns)
        plane = resized(plane.flatten(1, 2), grid, down, across).to(features)
        for block in self.after.values():
            plane = block(plane)
        return with_end_tokens(self.layers(plane.flatten(1, 2)), self.end_tokens)

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """The windows of the averaging alone, without the neighbours that the convolutions add."""
        return [with_end_rows(self.shares(grids[0]), self.num_end_tokens)]


class RegBlock(nn.Module):
    """RegNet's bottleneck with squeeze-and-excitation (arXiv 2003.13678); its norms are over channels."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        squeezed = round(in_width / 4)
        self.shrink = nn.Conv2d(in_width, width, 1, bias=False)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.squeeze, self.excite = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)
        self.grow = nn.Conv2d(width, width, 1, bias=False)
        self.shrink_norm, self.depthwise_norm, self.grow_norm = (nn.LayerNorm(width) for _ in range(3))
        self.skip = nn.Conv2d(in_width, width, 1, bias=False) if in_width != width else None
        self.skip_norm = nn.LayerNorm(width) if in_width != width else None

    def forward(self, plane: Tensor) -> Tensor:
        """[views, rows, columns, in_width] -> [views, rows, columns, width]."""
        inner = F.silu(self.shrink_norm(_pointwise(self.shrink, plane)))
        inner = F.silu(self.depthwise_norm(self.depthwise(inner.movedim(-1, 1)).movedim(1, -1)))
        gate = _pointwise(self.excite, F.silu(_pointwise(self.squeeze, inner.mean(dim=(1, 2), keepdim=True))))
        inner = self.grow_norm(_pointwise(self.grow, inner * gate.sigmoid()))
        beside = plane if self.skip is None or self.skip_norm is None else self.skip_norm(_pointwise(self.skip, plane))
        return F.silu(inner + beside)


def _pointwise(convolution: nn.Conv2d, plane: Tensor) -> Tensor:
    """A 1x1 convolution over the last dimension."""
    return F.linear(plane, convolution.weight.flatten(1), convolution.bias)

"""Honeybee's connectors: convolutions (C-Abstractor) and a resampler."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.attention import CrossAttention
from foveal.connectors.connector import Connector, Grid, Widths, one_width
from foveal.connectors.pool import PooledConnector, pool_matrix
from foveal.connectors.separable import resized
from foveal.connectors.sincos import resampled
from foveal.core import Backend, KeyMap

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
"""The reference's names, behind `abstractor.`."""

RESAMPLER = KeyMap(
    {
        "pos_emb": "positions",
        "query_tokens": "query",
        "vit_eos": "end_tokens",
        **{f"visual_input_fc.{kind}": f"in_projection.{kind}" for kind in KINDS},
        **{f"visual_output_fc.{kind}": f"out_projection.{kind}" for kind in KINDS},
        **{
            f"encoder.layers.{{}}.crossattention.{published}.{kind}": f"layers.{{}}.{ours}.{kind}"
            for published, ours in {
                "norm1": "query_norm",
                "normk": "key_norm",
                "attention.query": "attention.query",
                "attention.key": "attention.key",
                "attention.value": "attention.value",
                "output.out_proj": "attention.out",
                "output.norm2": "mlp_norm",
                "output.mlp.w1": "gate",
                "output.mlp.w2": "down",
                "output.mlp.w3": "up",
                "output.mlp.ffn_ln": "inner_norm",
            }.items()
            for kind in KINDS
        },
    }
)
"""The reference's names, behind `abstractor.`."""


class CAbstractor(PooledConnector):
    """Convolutions around an averaging to a fixed grid (Honeybee, arXiv 2312.06742, section 4.2).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
        rows: rows of tokens.
        columns: columns of tokens.
        base_grid: rows and columns of the learned positions; they are resampled bicubically for other grids.
        hidden_width: channels of the blocks.
        depth: blocks before and again after the averaging; 0: none, and the readout follows at once.
        mlp_depth: linear layers of the readout.
        use_prenorm: a norm before the positions.
        num_end_tokens: learned tokens that come last.

    Raises:
        ValueError: if a size is empty.
    """

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        rows: int = 12,
        columns: int = 12,
        base_grid: Grid = (24, 24),
        hidden_width: int = 1024,
        depth: int = 3,
        mlp_depth: int = 2,
        use_prenorm: bool = False,
        num_end_tokens: int = 0,
    ) -> None:
        super().__init__()
        self.in_width = in_width = one_width(in_width)
        self.keep_size(rows, columns)
        if min(base_grid) < 1 or depth < 0 or mlp_depth < 1:
            raise ValueError(f"base_grid {base_grid}, depth {depth} or mlp_depth {mlp_depth} is too small")
        self.out_width, self.base_grid, self.hidden_width = out_width, (base_grid[0], base_grid[1]), hidden_width
        self.depth, self.mlp_depth = depth, mlp_depth
        self.use_prenorm, self.num_end_tokens = use_prenorm, num_end_tokens
        self.positions = nn.Parameter(_small(1, base_grid[0] * base_grid[1], in_width))
        self.prenorm = nn.LayerNorm(in_width, eps=1e-6) if use_prenorm else None
        self.end_tokens = nn.Parameter(_small(1, num_end_tokens, out_width)) if num_end_tokens else None
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
        return _ended(self.layers(plane.flatten(1, 2)), self.end_tokens)


class RegBlock(nn.Module):
    """RegNet's bottleneck with squeeze and excitation (arXiv 2003.13678), norms over channels."""

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
        """[views, rows, columns, in_width] -> [views, rows, columns, width]"""
        inner = F.silu(self.shrink_norm(_pointwise(self.shrink, plane)))
        inner = F.silu(self.depthwise_norm(self.depthwise(inner.movedim(-1, 1)).movedim(1, -1)))
        gate = _pointwise(self.excite, F.silu(_pointwise(self.squeeze, inner.mean(dim=(1, 2), keepdim=True))))
        inner = self.grow_norm(_pointwise(self.grow, inner * gate.sigmoid()))
        beside = plane if self.skip is None or self.skip_norm is None else self.skip_norm(_pointwise(self.skip, plane))
        return F.silu(inner + beside)


class HoneybeeResampler(Connector):
    """Queries that look at the features and at each other, layer by layer (the resampler that Honeybee, arXiv
    2312.06742, compares with, after mPLUG-Owl, arXiv 2304.14178).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
        queries: tokens of a view.
        base_grid: rows and columns of the learned positions; they are resampled bicubically for other grids.
        hidden_width: channels of the layers.
        depth: layers.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        num_end_tokens: learned tokens that come last.
        backend: attention kernel, see `foveal.core.attention`.

    Raises:
        ValueError: if heads do not divide the width.
    """

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        queries: int = 64,
        base_grid: Grid = (24, 24),
        hidden_width: int = 1024,
        depth: int = 6,
        heads: int = 16,
        mlp_width: int = 4096,
        num_end_tokens: int = 0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.in_width = in_width = one_width(in_width)
        self.out_width, self.queries, self.base_grid = out_width, queries, (base_grid[0], base_grid[1])
        self.hidden_width, self.depth, self.heads, self.mlp_width = hidden_width, depth, heads, mlp_width
        self.num_end_tokens, self.backend = num_end_tokens, backend
        self.positions = nn.Parameter(_small(1, base_grid[0] * base_grid[1], in_width))
        self.query = nn.Parameter(_small(1, queries, hidden_width))
        self.in_projection = nn.Linear(in_width, hidden_width)
        self.layers = nn.ModuleList(ResamplerLayer(hidden_width, heads, mlp_width, backend) for _ in range(depth))
        self.out_projection = nn.Linear(hidden_width, out_width)
        self.end_tokens = nn.Parameter(_small(1, num_end_tokens, out_width)) if num_end_tokens else None

    def num_tokens(self, *grids: Grid) -> int:
        return self.queries + self.num_end_tokens

    def out_grid(self, *grids: Grid) -> Grid | None:
        return None

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        features, grid = self.single(maps, grids, mask)
        features = self.in_projection(features + positions_for(self.positions, self.base_grid, grid).to(features))
        tokens = self.query.expand(len(features), -1, -1)
        for layer in self.layers:
            tokens = layer(tokens, features)
        return _ended(self.out_projection(tokens), self.end_tokens)


class ResamplerLayer(nn.Module):
    """Attention and a gated feed-forward layer; the residual path starts behind the norm."""

    def __init__(self, width: int, heads: int, mlp_width: int, backend: Backend) -> None:
        super().__init__()
        self.query_norm, self.key_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.attention = CrossAttention(width, heads, backend=backend)
        self.gate, self.up = nn.Linear(width, mlp_width), nn.Linear(width, mlp_width)
        self.inner_norm = nn.LayerNorm(mlp_width, eps=1e-6)
        self.down = nn.Linear(mlp_width, width)

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        """[views, queries, width] and [views, cells, width] -> [views, queries, width]"""
        query = self.query_norm(tokens)
        seen = torch.cat([query, self.key_norm(features)], dim=1)
        tokens = query + self.attention(query, seen, seen)
        normed = self.mlp_norm(tokens)
        result: Tensor = tokens + self.down(self.inner_norm(F.silu(self.gate(normed)) * self.up(normed)))
        return result


def positions_for(table: Tensor, base: Grid, grid: Grid) -> Tensor:
    """[1, rows*columns of base, width] -> that of `grid`, bicubically."""
    return table if grid == tuple(base) else resampled(table[0], (base[0], base[1]), grid)[None]


def _pointwise(convolution: nn.Conv2d, plane: Tensor) -> Tensor:
    """A 1x1 convolution over the last dimension."""
    return F.linear(plane, convolution.weight.flatten(1), convolution.bias)


def _small(*shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(shape), std=0.02)


def _ended(tokens: Tensor, end_tokens: Tensor | None) -> Tensor:
    return tokens if end_tokens is None else torch.cat([tokens, end_tokens.expand(len(tokens), -1, -1)], dim=1)

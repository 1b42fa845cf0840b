"""Honeybee's resampler, the baseline of its abstractors."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.attention import CrossAttention
from foveal.connectors.connector import Connector, Widths, one_width
from foveal.connectors.placed import positions_for, small, with_end_rows, with_end_tokens
from foveal.connectors.relevance.maps import latent_to_patch
from foveal.core import Backend, Grid, KeyMap

KINDS = ("weight", "bias")

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
"""The reference's names, after the prefix `abstractor.`."""


class HoneybeeResampler(Connector):
    """Queries that attend to the features and to each other, layer by layer (the resampler that Honeybee, arXiv
    2312.06742, compares with; it follows mPLUG-Owl, arXiv 2304.14178).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
        queries: tokens per view.
        base_grid: rows and columns of the learned positions, which are resampled bicubically for other grids.
        hidden_width: channels of the layers.
        depth: layers.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        num_end_tokens: learned tokens appended at the end.
        backend: attention kernel, see `foveal.core.attention`.

    Raises:
        ValueError: if heads do not divide the width.
    """

    tables: ClassVar[tuple[str, ...]] = ("positions", "query", "end_tokens")

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        queries: int = 64,
        base_grid: Grid = Grid(24, 24),
        hidden_width: int = 1024,
        depth: int = 6,
        heads: int = 16,
        mlp_width: int = 4096,
        num_end_tokens: int = 0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        base_grid = Grid.of(base_grid)
        self.in_width = in_width = one_width(in_width)
        self.out_width, self.queries, self.base_grid = out_width, queries, base_grid
        self.hidden_width, self.depth, self.heads, self.mlp_width = hidden_width, depth, heads, mlp_width
        self.num_end_tokens, self.backend = num_end_tokens, backend
        self.positions = nn.Parameter(small(1, base_grid.cells, in_width))
        self.query = nn.Parameter(small(1, queries, hidden_width))
        self.in_projection = nn.Linear(in_width, hidden_width)
        self.layers = nn.ModuleList(ResamplerLayer(hidden_width, heads, mlp_width, backend) for _ in range(depth))
        self.out_projection = nn.Linear(hidden_width, out_width)
        self.end_tokens = nn.Parameter(small(1, num_end_tokens, out_width)) if num_end_tokens else None

    def num_tokens(self, *grids: Grid) -> int:
        return self.queries + self.num_end_tokens

    def out_grid(self, *grids: Grid) -> Grid | None:
        return None

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, queries + num_end_tokens, out_width]."""
        features, grid = self.single(maps, grids, mask)
        features = self.in_projection(features + positions_for(self.positions, self.base_grid, grid).to(features))
        tokens = self.query.expand(len(features), -1, -1)
        for layer in self.layers:
            tokens = layer(tokens, features)
        return with_end_tokens(self.out_projection(tokens), self.end_tokens)

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        cells = grids[0][0] * grids[0][1]
        tables = [next(seen)[0].split([self.queries, cells], dim=1) for _ in range(self.depth)]
        return [with_end_rows(latent_to_patch([(own, patches) for own, patches in tables]), self.num_end_tokens)]


class ResamplerLayer(nn.Module):
    """Attention and a gated feed-forward layer; the first residual path starts after the norm."""

    def __init__(self, width: int, heads: int, mlp_width: int, backend: Backend) -> None:
        super().__init__()
        self.query_norm, self.key_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.attention = CrossAttention(width, heads, backend=backend)
        self.gate, self.up = nn.Linear(width, mlp_width), nn.Linear(width, mlp_width)
        self.inner_norm = nn.LayerNorm(mlp_width, eps=1e-6)
        self.down = nn.Linear(mlp_width, width)

    def forward(self, tokens: Tensor, features: Tensor) -> Tensor:
        """[views, queries, width] and [views, cells, width] -> [views, queries, width]."""
        query = self.query_norm(tokens)
        seen = torch.cat([query, self.key_norm(features)], dim=1)
        tokens = query + self.attention(query, seen, seen)
        normed = self.mlp_norm(tokens)
        result: Tensor = tokens + self.down(self.inner_norm(F.silu(self.gate(normed)) * self.up(normed)))
        return result

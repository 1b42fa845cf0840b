"""The resamplers of Qwen-VL and LLaVA-UHD: a fixed number of tokens by cross-attention."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.connector import Connector, Widths, one_width, square_side
from foveal.connectors.relevance.maps import window_to_patch
from foveal.connectors.sincos import resampled, sincos_grid
from foveal.connectors.windows import windows
from foveal.core import Backend, Grid, KeyMap, attention

UHD = KeyMap(
    {
        "query": "query",
        "pos_embed": "positions",
        "proj": "projection",
        "kv_proj.weight": "in_projection.weight",
        "attn.in_proj_weight": "qkv_weight",
        "attn.in_proj_bias": "qkv_bias",
        **{
            f"{published}.{kind}": f"{ours}.{kind}"
            for published, ours in {
                "attn.out_proj": "out",
                "ln_q": "query_norm",
                "ln_kv": "key_norm",
                "ln_post": "post_norm",
            }.items()
            for kind in ("weight", "bias")
        },
    }
)
"""The reference's names, after the prefix `mm_projector.`."""

QWEN_VL = KeyMap(
    {
        "proj": "projection",
        "attn_pool.query": "query",
        "attn_pool.pos_embed": "positions",
        "attn_pool.kv_proj.weight": "in_projection.weight",
        "attn_pool.attn.in_proj_weight": "qkv_weight",
        "attn_pool.attn.in_proj_bias": "qkv_bias",
        **{
            f"{published}.{kind}": f"{ours}.{kind}"
            for published, ours in {
                "attn_pool.attn.out_proj": "out",
                "attn_pool.ln_q": "query_norm",
                "attn_pool.ln_kv": "key_norm",
                "ln_post": "post_norm",
            }.items()
            for kind in ("weight", "bias")
        },
    }
)
"""Qwen-VL's names, after the prefix `transformer.visual.`: the resampler that LLaVA-UHD adopted."""


class PerceiverResampler(Connector):
    """Learned queries on a square grid attend to all features of a view (Qwen-VL, arXiv 2308.12966, section 2.1;
    LLaVA-UHD, arXiv 2403.11703, section 3.2).

        y = LN(x W_in),  q = LN(query) + P,  k = y + P resized to the view's grid
        tokens = LN(attention(q, k, y)) W_out

    P is the 2-D sin-cos table of the queries' grid. It is added to keys, not to values. There is one attention layer,
    without a residual path or a feed-forward layer.

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
        queries: tokens per view, a square number.
        heads: attention heads; the published models have one per 128 channels.
        train_positions: whether to train the table (the released model's was trained, in stage 1).
        backend: attention kernel, see `foveal.core.attention`.

    Raises:
        ValueError: if `queries` is not a square, `heads` is not positive, or `out_width` is not a multiple of 4 and of
            `heads`.
    """

    supports_mask = True
    tables: ClassVar[tuple[str, ...]] = ("query", "positions")

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        queries: int = 64,
        heads: int = 1,
        train_positions: bool = False,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        side = square_side(queries)
        if heads < 1:
            raise ValueError(f"heads must be at least 1, not {heads}")
        if out_width % 4 or out_width % heads:
            raise ValueError(f"out_width {out_width} must be a multiple of 4 and of heads {heads}")
        self.in_width = in_width = one_width(in_width)
        self.out_width = out_width
        self.queries, self.heads, self.train_positions, self.backend = queries, heads, train_positions, backend
        self.side = side
        self.query = nn.Parameter(nn.init.trunc_normal_(torch.empty(queries, out_width), std=0.02))
        self.positions = nn.Parameter(sincos_grid(side, side, out_width), requires_grad=train_positions)
        self.in_projection = nn.Identity() if in_width == out_width else nn.Linear(in_width, out_width, bias=False)
        self.qkv_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * out_width, out_width)))
        self.qkv_bias = nn.Parameter(torch.zeros(3 * out_width))
        self.out = nn.Linear(out_width, out_width)
        self.query_norm, self.key_norm, self.post_norm = (nn.LayerNorm(out_width, eps=1e-6) for _ in range(3))
        self.projection = nn.Parameter(torch.randn(out_width, out_width) * out_width**-0.5)
        for module in (self.in_projection, self.out):
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def num_tokens(self, *grids: Grid) -> int:
        return self.queries

    def out_grid(self, *grids: Grid) -> Grid | None:
        return Grid(self.side, self.side)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, queries, out_width]."""
        features, grid = self.single(maps, grids, mask)
        query, key, value = self._projected(features, grid)
        query = query.expand(len(features), -1, -1)
        heads = (tensor.unflatten(-1, (self.heads, -1)) for tensor in (query, key, value))
        return self._finished(attention(*heads, key_mask=mask, backend=self.backend).flatten(2))

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """There is one attention layer: what the queries see in it."""
        return [next(seen)[0]]

    def _sources(self, features: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [1, queries, width], keys and values [views, rows*columns, width], before their projections."""
        value = self.key_norm(self.in_projection(features))
        key = value + resampled(self.positions, Grid(self.side, self.side), grid).to(value.dtype)
        return (self.query_norm(self.query) + self.positions)[None], key, value

    def _projected(self, features: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        sources = self._sources(features, grid)
        weights, biases = self.qkv_weight.chunk(3), self.qkv_bias.chunk(3)
        query, key, value = (F.linear(*each) for each in zip(sources, weights, biases, strict=True))
        return query, key, value

    def _finished(self, attended: Tensor) -> Tensor:
        tokens: Tensor = self.post_norm(self.out(attended)) @ self.projection
        return tokens


class SpatialResampler(PerceiverResampler):
    """Each query attends to its own window of the view (LLaVA-UHD, ECCV 2024, section 3.2; the released model has 144).

    Query (i, j) sees window (i, j) of the map, bilinearly sampled at 6 to 12 points whose arrangement follows the
    view's aspect ratio: the RoIAlign of Mask R-CNN (arXiv 1703.06870, section 3) with the original, unshifted corners.
    Since the windows of all queries form a regular grid, sampling is one matrix for rows and one for columns.
    """

    supports_mask = False

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, queries, out_width]."""
        features, grid = self.single(maps, grids, mask)
        query, key, value = self._sources(features, grid)
        views, width = len(features), self.out_width
        weights, biases = self.qkv_weight.chunk(3), self.qkv_bias.chunk(3)
        query = F.linear(query, weights[0], biases[0])
        # Sampling and projecting are both linear, and a map has fewer cells than its windows have points, so project
        # first. Biases come last: the weights of a point at the edge do not add up to 1.
        key, value = (
            windows(F.linear(tensor, weight), grid, self.side) + bias.to(query.dtype)
            for tensor, weight, bias in zip((key, value), weights[1:], biases[1:], strict=True)
        )
        # Each query is a sequence of length 1 with its own few keys.
        query = query.expand(views, -1, -1).reshape(views * self.queries, 1, width)
        heads = (tensor.unflatten(-1, (self.heads, -1)) for tensor in (query, key, value))
        attended = attention(*heads, backend=self.backend)
        return self._finished(attended.reshape(views, self.queries, width))

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        return window_to_patch(next(seen), grids)

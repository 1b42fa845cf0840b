"""Hierarchical window attention: queries attend to their window in maps of several resolutions (LLaVA-UHD v2)."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.connector import Connector, Widths, square_side
from foveal.connectors.relevance.maps import window_to_patch
from foveal.connectors.sincos import resampled, sincos_grid
from foveal.connectors.windows import points_of, windows
from foveal.core import Backend, Grid, KeyMap, attention

SETS = 4
"""Queries of every window; the paper's equations 4 and 5 have one, the released code four."""
SCALES = (1, 2, 4, 8)
"""Scales of maps for which the released code has weights, used or not."""


class HiwinAttention(Connector):
    """Each query attends to its own window of all maps (LLaVA-UHD v2, arXiv 2412.13871, section 3.3; released code).

        v = LN(x W_map),  k = v + P resized to the map's grid + embedding of the map
        a_i = LN(attention(LN(query_i) + P, windows of k, windows of v)),  i = 1..4
        tokens = LN([a_1 | a_2 | a_3 | a_4] W) W_out

    P is the 2-D sin-cos table of the queries' grid. Windows and their points are those of `SpatialResampler`, in each
    map on its own grid; the points of all maps are the keys of one attention.

    Args:
        in_width: channels of each map; the maps show the same view at different resolutions.
        out_width: channels of the language model.
        queries: tokens per view, a square number.
        heads: attention heads; the published models have one per 128 channels.
        train_positions: whether to train the table.
        backend: attention kernel, see `foveal.core.attention`.

    Raises:
        ValueError: if `queries` is not a square, `heads` is not positive, or `out_width` is not a multiple of 4 and of
            `heads`.
    """

    tables: ClassVar[tuple[str, ...]] = ("query", "positions", "map_embedding")

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        queries: int = 144,
        heads: int = 1,
        train_positions: bool = False,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        side = square_side(queries)
        if heads < 1 or out_width % 4 or out_width % heads:
            raise ValueError(f"out_width {out_width} must be a multiple of 4 and of heads {heads}, at least 1")
        self.in_width, self.out_width = in_width, out_width
        self.queries, self.heads, self.train_positions, self.backend = queries, heads, train_positions, backend
        self.side = side
        self.query = nn.Parameter(nn.init.trunc_normal_(torch.empty(SETS * queries, out_width), std=0.02))
        self.positions = nn.Parameter(sincos_grid(side, side, out_width), requires_grad=train_positions)
        self.in_projections = nn.ModuleList(nn.Linear(width, out_width) for width in self.in_widths)
        self.map_embedding = nn.Parameter(torch.zeros(len(self.in_widths), 1, out_width))
        self.qkv_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * out_width, out_width)))
        self.qkv_bias = nn.Parameter(torch.zeros(3 * out_width))
        self.out = nn.Linear(out_width, out_width)
        self.join = nn.Linear(SETS * out_width, out_width)
        self.query_norm, self.key_norm, self.out_norm, self.post_norm = (
            nn.LayerNorm(out_width, eps=1e-6) for _ in range(4)
        )
        self.projection = nn.Parameter(torch.randn(out_width, out_width) * out_width**-0.5)
        for module in (*self.in_projections, self.out, self.join):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)

    def num_tokens(self, *grids: Grid) -> int:
        return self.queries

    def out_grid(self, *grids: Grid) -> Grid | None:
        return Grid(self.side, self.side)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, width of the map] for each map -> [views, queries, out_width]."""
        self.checked(maps, grids, mask)
        views, weight, bias = len(maps[0]), self.qkv_weight[: self.out_width], self.qkv_bias[: self.out_width]
        query = self.query_norm(self.query).unflatten(0, (SETS, self.queries)) + self.positions
        # A window is a sequence of its own: four queries, and its few points in every map.
        query = F.linear(query, weight, bias).transpose(0, 1).repeat(views, 1, 1)
        of_maps = [self._keys_and_values(number, *each) for number, each in enumerate(zip(maps, grids, strict=True))]
        key, value = (torch.cat(each, dim=1) for each in zip(*of_maps, strict=True))
        heads = (tensor.unflatten(-1, (self.heads, -1)) for tensor in (query, key, value))
        attended = self.out_norm(self.out(attention(*heads, backend=self.backend).flatten(2)))
        joined = self.join(attended.flatten(1).unflatten(0, (views, self.queries)))
        tokens: Tensor = self.post_norm(joined) @ self.projection
        return tokens

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        return window_to_patch(next(seen), grids)

    def _keys_and_values(self, number: int, features: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Keys and values in the windows of map `number`, [views*queries, points of a window, width] each."""
        value = self.key_norm(self.in_projections[number](features))
        places = resampled(self.positions, Grid(self.side, self.side), grid) + self.map_embedding[number]
        sources = value + places.to(value.dtype), value
        rows = zip(sources, self.qkv_weight.chunk(3)[1:], self.qkv_bias.chunk(3)[1:], strict=True)
        if grid[0] * grid[1] > points_of(grid, self.side):
            key, value = (F.linear(windows(source, grid, self.side), *row) for source, *row in rows)
        else:  # Both steps are linear: project the fewer cells. The weights of a point at the edge do not add up to 1.
            key, value = (windows(F.linear(source, row), grid, self.side) + bias for source, row, bias in rows)
        return key, value


def hiwin_map(scales: Sequence[int]) -> KeyMap:
    """The reference's names, after the prefix `mm_projector.`, for a connector with maps of these scales.

    The released code makes projections and embeddings for `SCALES` whatever its `feature_scale_mask`, and two more
    weights that it never uses; those are left out. The mask 5 of the released models means the scales 1 and 4.

    Raises:
        ValueError: if a scale is unknown.
    """
    if unknown := [scale for scale in scales if scale not in SCALES]:
        raise ValueError(f"scales {unknown} of maps are unknown: a map has one of the scales {SCALES}")
    pairs = {"attn.out_proj": "out", "cat_proj": "join", "ln_q": "query_norm", "ln_kv": "key_norm"}
    pairs |= {"ln_proj": "out_norm", "ln_post": "post_norm"}
    pairs |= {f"features_{scale}x_projector": f"in_projections.{number}" for number, scale in enumerate(scales)}
    unused = [scale for scale in SCALES if scale not in scales]
    return KeyMap(
        {
            tuple(f"query_{number + 1}" for number in range(SETS)): "query",
            "pos_embed": "positions",
            "proj": "projection",
            "attn.in_proj_weight": "qkv_weight",
            "attn.in_proj_bias": "qkv_bias",
            tuple(f"feature_{scale}x_embedding" for scale in scales): "map_embedding",
            **{f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in pairs.items() for kind in ("weight", "bias")},
            **{f"features_{scale}x_projector.{kind}": None for scale in unused for kind in ("weight", "bias")},
            **{f"feature_{scale}x_embedding": None for scale in unused},
            **dict.fromkeys(("query", "kv_proj.weight")),
        }
    )

"""Honeybee's D-Abstractor: queries on a pooled grid that sample the map around them."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.attention import CrossAttention
from foveal.connectors.connector import Widths
from foveal.connectors.deformable import DeformableAttention
from foveal.connectors.placed import positions_for, with_end_rows
from foveal.connectors.pool import PooledConnector
from foveal.connectors.relevance.maps import query_to_patch
from foveal.core import Backend, Grid, KeyMap

KINDS = ("weight", "bias")

D_ABSTRACTOR = KeyMap(
    {
        "reference_points": "reference_points",
        "v_pos_emb": "positions",
        "level_emb": "level_positions",
        "eos_tokens": "end_tokens",
        "query_position_embeddings.weight": "query",
        **{f"input_proj.{{}}.{kind}": f"in_projections.{{}}.{kind}" for kind in KINDS},
        **{f"output_proj.{kind}": f"out_projection.{kind}" for kind in KINDS},
        **{
            f"layers.{{}}.{published}.{kind}": f"layers.{{}}.{ours}.{kind}"
            for published, ours in {
                "self_attn.q_proj": "self_attention.query",
                "self_attn.k_proj": "self_attention.key",
                "self_attn.v_proj": "self_attention.value",
                "self_attn.out_proj": "self_attention.out",
                "self_attn_layer_norm": "self_norm",
                **{
                    f"encoder_attn.{part}": f"cross_attention.{part}"
                    for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
                },
                "encoder_attn_layer_norm": "cross_norm",
                "fc1": "up",
                "fc2": "down",
                "final_layer_norm": "mlp_norm",
            }.items()
            for kind in KINDS
        },
    }
)
"""The reference's names, after the prefix `abstractor.`."""


class DAbstractor(PooledConnector):
    """A deformable decoder whose queries start from the averaged map (Honeybee, arXiv 2312.06742, section 4.2).

    Offsets are initialised to the ring of Deformable DETR; the reference overwrites it when it initialises its model.

    Args:
        in_width: channels of the features; a tuple for several maps on one grid.
        out_width: channels of the language model.
        rows: rows of tokens.
        columns: columns of tokens.
        base_grid: rows and columns of the learned positions, which are resampled bicubically for other grids.
        hidden_width: channels of the layers.
        depth: layers.
        heads: attention heads.
        points: points that a query samples per map and head.
        mlp_width: channels inside the feed-forward layers.
        pooled: how the queries use the averaged map: as positions (`query`), as content (`target`) or not at all
            (`none`, required for several maps).
        use_positions: whether to add learned positions to the features.
        num_end_tokens: learned tokens appended at the end.
        backend: attention kernel of the queries' self-attention, see `foveal.core.attention`.

    Raises:
        ValueError: if a size does not fit, or several maps would have to be averaged.
    """

    tables: ClassVar[tuple[str, ...]] = ("positions", "level_positions", "query", "reference_points", "end_tokens")

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        rows: int = 12,
        columns: int = 12,
        base_grid: Grid = Grid(24, 24),
        hidden_width: int = 1024,
        depth: int = 6,
        heads: int = 8,
        points: int = 4,
        mlp_width: int = 1024,
        pooled: Literal["query", "target", "none"] = "query",
        use_positions: bool = True,
        num_end_tokens: int = 0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        base_grid = Grid.of(base_grid)
        self.in_width = in_width if isinstance(in_width, int) else tuple(in_width)
        self.keep_size(rows, columns)
        maps = len(self.in_widths)
        if pooled not in ("query", "target", "none") or (maps > 1 and pooled != "none"):
            raise ValueError(f"pooled must be query, target or none, for {maps} maps none, not {pooled!r}")
        self.out_width, self.base_grid, self.hidden_width = out_width, base_grid, hidden_width
        self.depth, self.heads, self.points, self.mlp_width = depth, heads, points, mlp_width
        self.pooled, self.use_positions = pooled, use_positions
        self.num_end_tokens, self.backend = num_end_tokens, backend
        tokens, cells = rows * columns, base_grid.cells
        self.in_projections = nn.ModuleList(
            nn.Identity() if width == hidden_width else nn.Linear(width, hidden_width) for width in self.in_widths
        )
        self.positions = nn.Parameter(torch.randn(1, cells, hidden_width) * 0.02) if use_positions else None
        self.level_positions = nn.Parameter(torch.randn(1, maps, 1, hidden_width)) if maps > 1 else None
        self.query = nn.Parameter(torch.randn(tokens, hidden_width * (2 if pooled == "none" else 1)) * 0.02)
        self.reference_points = nn.Parameter(_inset(rows, columns, base_grid))
        self.layers = nn.ModuleList(
            DeformableLayer(hidden_width, heads, maps, points, mlp_width, backend) for _ in range(depth)
        )
        self.end_tokens = nn.Parameter(torch.randn(1, num_end_tokens, hidden_width) * 0.02) if num_end_tokens else None
        self.out_projection = nn.Identity() if hidden_width == out_width else nn.Linear(hidden_width, out_width)

    def num_tokens(self, *grids: Grid) -> int:
        if len(set(grids)) > 1:
            raise ValueError(f"DAbstractor takes maps of one grid, but they have {list(grids)}")
        return super().num_tokens(*grids) + self.num_end_tokens

    def out_grid(self, *grids: Grid) -> Grid | None:
        return None if self.num_end_tokens else super().out_grid(*grids)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, width] per map -> [views, rows*columns + num_end_tokens, out_width]."""
        maps, grids = self.checked(maps, grids, mask)
        self.num_tokens(*grids)
        values = [projection(features) for projection, features in zip(self.in_projections, maps, strict=True)]
        if self.positions is not None:
            placed = positions_for(self.positions, self.base_grid, grids[0])
            values = [value + placed for value in values]
        if self.level_positions is not None:
            values = [value + self.level_positions[:, level] for level, value in enumerate(values)]
        learned = self.query.expand(len(maps[0]), -1, -1)
        if self.pooled == "none":
            where, tokens = learned.chunk(2, dim=-1)
        else:
            averaged = self.averaged(values[0], grids[0])
            where, tokens = (averaged, learned) if self.pooled == "query" else (learned, averaged)
        reference, flat = self.reference_points[:, :, None], torch.cat(values, dim=1)
        for layer in self.layers:
            tokens = layer(tokens, where, reference, flat, grids)
        if self.end_tokens is not None:
            tokens = torch.cat([tokens, self.end_tokens.expand(len(tokens), -1, -1)], dim=1)
        result: Tensor = self.out_projection(tokens)
        return result

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        cells = [rows * columns for rows, columns in grids]
        tables = [(next(seen)[0], next(seen)[0]) for _ in range(self.depth)]
        begun = self.shares(grids[0]) if self.pooled == "target" else None
        read = with_end_rows(query_to_patch(tables, begun), self.num_end_tokens)
        return list(read.split(cells, dim=1))


class DeformableLayer(nn.Module):
    """Self-attention of the queries, deformable attention to the maps and a feed-forward layer, each before a norm."""

    def __init__(self, width: int, heads: int, maps: int, points: int, mlp_width: int, backend: Backend) -> None:
        super().__init__()
        self.self_attention = CrossAttention(width, heads, backend=backend)
        self.cross_attention = DeformableAttention(width, heads, maps, points)
        self.up, self.down = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)
        self.self_norm, self.cross_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))

    def forward(
        self, tokens: Tensor, where: Tensor, reference: Tensor, values: Tensor, grids: Sequence[Grid]
    ) -> Tensor:
        """Queries [views, tokens, width], their positions, reference points, keys -> [views, tokens, width]."""
        placed = tokens + where
        tokens = self.self_norm(tokens + self.self_attention(placed, placed, tokens))
        tokens = self.cross_norm(tokens + self.cross_attention(tokens + where, reference, values, grids))
        result: Tensor = self.mlp_norm(tokens + self.down(F.relu(self.up(tokens))))
        return result


def _inset(rows: int, columns: int, base: Grid) -> Tensor:
    """Initial reference points, (x, y) in 0..1: evenly spaced, from half a cell inside one edge to the other."""
    down, across = (
        torch.linspace(0.5, side - 0.5, count) / side for side, count in ((base[0], rows), (base[1], columns))
    )
    return torch.stack([across.expand(rows, -1), down[:, None].expand(-1, columns)], dim=-1).reshape(1, -1, 2)

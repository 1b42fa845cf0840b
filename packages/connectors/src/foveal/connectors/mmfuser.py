"""MMFuser: several layers of one encoder fused into the deepest."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.attention import CrossAttention
from foveal.connectors.connector import Connector, Widths, several_widths
from foveal.connectors.deformable import DeformableAttention, centres
from foveal.connectors.pool import pool_matrix
from foveal.connectors.relevance.maps import query_to_patch
from foveal.connectors.separable import resized
from foveal.core import Backend, Grid, KeyMap

REDUCED = 7

MMFUSER = KeyMap(
    {
        "gamma1": "fused_scale",
        "gamma2": "self_scale",
        **{
            f"{published}.{kind}": f"{ours}.{kind}"
            for published, ours in {
                "query_norm": "query_norm",
                "feat_norm": "map_norm",
                "norm1": "self_norm",
                **{
                    f"{attention}_attn.{part}": f"{attention}_attention.{part}"
                    for attention in ("cross", "self")
                    for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
                },
            }.items()
            for kind in ("weight", "bias")
        },
    }
)
"""The reference's names, after the prefix `mm_projector.0.`."""


class MMFuser(Connector):
    """The deepest map fetches details from the shallower ones (MMFuser, arXiv 2410.11829, section 3.2).

        F = cross(LN(Q), LN(X)),  F' = self(LN(F)),  result = Q + fused_scale (F + self_scale F')

    Q is the last map, X all others. Both scales start at 0, so that at first the result is the last map alone. It is a
    stage of a `Chain`: it keeps the width, and a projector follows.

    Args:
        in_width: channels of every map, all equal.
        heads: attention heads.
        points: points that a query samples per map and head.
        attention: `deformable`; `global`: every query attends to every cell; `linear_sra`: to every map after averaging
            it to 7x7 cells (PVT v2, arXiv 2106.13797, section 3.2).
        use_self_attention: whether to use the second attention.
        init_scale: initial value of both scales.
        backend: attention kernel of `global` and `linear_sra`, see `foveal.core.attention`.

    Raises:
        ValueError: if there is only one map, or widths differ.
    """

    def __init__(
        self,
        in_width: Widths,
        *,
        heads: int = 16,
        points: int = 4,
        attention: Literal["deformable", "global", "linear_sra"] = "deformable",
        use_self_attention: bool = True,
        init_scale: float = 0.0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if attention not in ("deformable", "global", "linear_sra"):
            raise ValueError(f"attention must be deformable, global or linear_sra, not {attention!r}")
        self.in_width = several_widths(in_width, equal=True)
        self.out_width = width = self.in_width[-1]
        self.heads, self.points, self.attention, self.backend = heads, points, attention, backend
        self.init_scale, self.use_self_attention = init_scale, use_self_attention
        levels = len(self.in_width) - 1

        def attend(maps: int) -> nn.Module:
            if attention == "deformable":
                return DeformableAttention(width, heads, maps, points)
            return DenseAttention(width, heads, backend, reduced=attention == "linear_sra")

        self.query_norm, self.map_norm = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.cross_attention = attend(levels)
        self.fused_scale = nn.Parameter(torch.full((width,), init_scale))
        self.self_norm = nn.LayerNorm(width, eps=1e-6) if use_self_attention else None
        self.self_attention = attend(1) if use_self_attention else None
        self.self_scale = nn.Parameter(torch.full((width,), init_scale)) if use_self_attention else None

    def num_tokens(self, *grids: Grid) -> int:
        return grids[-1][0] * grids[-1][1]

    def out_grid(self, *grids: Grid) -> Grid | None:
        return grids[-1]

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, width] per map -> [views, cells of the last map, width]."""
        maps, grids = self.checked(maps, grids, mask)
        query, own = maps[-1], grids[-1]
        reference = centres(own, query.device)
        normed = self.map_norm(torch.cat(list(maps[:-1]), dim=1))
        fused = self.cross_attention(self.query_norm(query), reference, normed, grids[:-1])
        if self.self_attention is not None and self.self_norm is not None and self.self_scale is not None:
            inner = self.self_norm(fused)
            fused = fused + self.self_scale * self.self_attention(inner, reference, inner, [own])
        result: Tensor = query + self.fused_scale * fused
        return result

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """A token is its own cell of the last map, and what its attention has read of the others and around itself."""
        cells = [rows * columns for rows, columns in grids]
        layers: list[tuple[Tensor | None, Tensor | None]] = [(None, self._of_cells(next(seen)[0], grids[:-1]))]
        own = torch.eye(cells[-1], dtype=torch.float64)
        if self.use_self_attention:
            around = self._of_cells(next(seen)[0], grids[-1:])
            layers.append((around, None))
            own = own + around
        return [*query_to_patch(layers).split(cells[:-1], dim=1), own]

    def _of_cells(self, table: Tensor, grids: Sequence[Grid]) -> Tensor:
        """What was seen of the cells of maps, [queries, cells], if the keys of `linear_sra` are averages of cells."""
        if self.attention != "linear_sra":
            return table
        pools = [torch.kron(*(pool_matrix(side, REDUCED) for side in grid)) for grid in grids]
        averages: Tensor = torch.block_diag(*pools).double()
        return table @ averages


class DenseAttention(nn.Module):
    """Attention to all cells of all maps, with the signature of `DeformableAttention`."""

    def __init__(self, width: int, heads: int, backend: Backend, *, reduced: bool) -> None:
        super().__init__()
        self.inner = CrossAttention(width, heads, backend=backend)
        self.reduce = nn.Linear(width, width) if reduced else None
        self.reduce_norm = nn.LayerNorm(width, eps=1e-6) if reduced else None

    def forward(self, query: Tensor, reference: Tensor, values: Tensor, grids: Sequence[Grid]) -> Tensor:
        """[batch, queries, width], [batch, keys, width] -> [batch, queries, width]; reference points are unused."""
        if self.reduce is not None and self.reduce_norm is not None:
            planes = zip(values.split([rows * columns for rows, columns in grids], dim=1), grids, strict=True)
            few = [
                resized(plane, grid, pool_matrix(grid[0], REDUCED), pool_matrix(grid[1], REDUCED)).flatten(1, 2)
                for plane, grid in planes
            ]
            values = F.gelu(self.reduce_norm(self.reduce(torch.cat(few, dim=1).to(values))))
        result: Tensor = self.inner(query, values, values)
        return result

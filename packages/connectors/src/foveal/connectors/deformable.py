"""Multi-scale deformable attention: every query samples a few points of every map."""

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.connector import Grid


def deformable_attention(value: Tensor, grids: Sequence[Grid], locations: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of bilinear samples (Deformable DETR, arXiv 2010.04159, equation 3).

    Places outside of a map count as zero. Computed in float32 or better: in half precision places would be rounded by
    tenths of a cell.

    Args:
        value: [batch, keys, heads, head_width], all maps one after the other, each row by row.
        grids: rows and columns of each map.
        locations: [batch, queries, heads, maps, points, 2], (x, y) in 0..1 from edge to edge.
        weights: [batch, queries, heads, maps, points].

    Returns:
        [batch, queries, heads*head_width], in the dtype of `value`
    """
    batch, _, heads, head_width = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    with torch.autocast(value.device.type, enabled=False):
        kind = torch.promote_types(value.dtype, torch.float32)
        planes = value.to(kind).permute(0, 2, 3, 1).flatten(0, 1)  # [batch*heads, head_width, keys]
        places = (2 * locations.to(kind) - 1).transpose(1, 2).flatten(0, 1)  # [batch*heads, queries, maps, points, 2]
        sampled = [
            F.grid_sample(plane.unflatten(2, grid), places[:, :, level], align_corners=False)
            for level, (plane, grid) in enumerate(
                zip(planes.split([rows * columns for rows, columns in grids], dim=2), grids, strict=True)
            )
        ]
        shares = weights.to(kind).transpose(1, 2).reshape(batch * heads, 1, queries, len(grids) * points)
        attended = (torch.cat(sampled, dim=-1) * shares).sum(dim=-1)
    result: Tensor = (
        attended.unflatten(0, (batch, heads)).permute(0, 3, 1, 2).reshape(batch, queries, heads * head_width).to(value)
    )
    return result


class DeformableAttention(nn.Module):
    """Queries choose by themselves where to look around their reference points (arXiv 2010.04159, section 4.1).

    Args:
        width: channels.
        heads: attention heads.
        maps: maps that are looked at.
        points: samples of a query in every map and head.

    Raises:
        ValueError: if `heads` does not divide `width`.
    """

    def __init__(self, width: int, heads: int, maps: int, points: int) -> None:
        super().__init__()
        if heads < 1 or width % heads or min(maps, points) < 1:
            raise ValueError(f"heads {heads} must divide width {width}; maps {maps} and points {points} at least 1")
        self.heads, self.maps, self.points = heads, maps, points
        self.sampling_offsets = nn.Linear(width, heads * maps * points * 2)
        self.attention_weights = nn.Linear(width, heads * maps * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)
        self.sampling_offsets.bias = nn.Parameter(ring(heads, maps, points).flatten())

    def forward(
        self, query: Tensor, reference: Tensor, values: Tensor, grids: Sequence[Grid], mask: Tensor | None = None
    ) -> Tensor:
        """What the queries find.

        Args:
            query: [batch, queries, width].
            reference: [1 or batch, queries, 1 or maps, 2] as (x, y) in 0..1, or with 4 as (x, y, width, height) of
                boxes, in whose halves the offsets are then counted.
            values: [batch, keys, width], all maps one after the other.
            grids: rows and columns of each map.
            mask: [batch, keys], True at keys that count.

        Returns:
            [batch, queries, width]
        """
        value = self.value_proj(values)
        if mask is not None:
            value = value.masked_fill(~mask[..., None], 0)
        shape = (self.heads, self.maps, self.points)
        offsets = self.sampling_offsets(query).unflatten(-1, (*shape, 2))
        weights = self.attention_weights(query).unflatten(-1, (self.heads, -1)).softmax(dim=-1).unflatten(-1, shape[1:])
        around = reference[:, :, None, :, None]
        if reference.shape[-1] == 2:
            sizes = torch.tensor([(columns, rows) for rows, columns in grids], device=query.device)
            locations = around + offsets / sizes[:, None]
        else:
            locations = around[..., :2] + offsets / self.points * around[..., 2:] * 0.5
        heads = value.unflatten(-1, (self.heads, -1))
        result: Tensor = self.output_proj(deformable_attention(heads, grids, locations, weights))
        return result


def ring(heads: int, maps: int, points: int) -> Tensor:
    """Offsets to begin with, [heads, maps, points, 2]: head by head in another direction, point by point farther."""
    angles = torch.arange(heads) * (2 * pi / heads)
    directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
    directions = directions / directions.abs().amax(dim=-1, keepdim=True)
    distances = torch.arange(1, points + 1)[:, None]
    return (directions[:, None, None] * distances).expand(-1, maps, -1, -1).clone()


def centres(grid: Grid, device: torch.device) -> Tensor:
    """The middle of every cell as (x, y) in 0..1, row by row: [1, rows*columns, 1, 2], float32."""
    down, across = ((torch.arange(side, device=device) + 0.5) / side for side in grid)
    return torch.stack([across.expand(grid[0], -1), down[:, None].expand(-1, grid[1])], dim=-1).reshape(1, -1, 1, 2)

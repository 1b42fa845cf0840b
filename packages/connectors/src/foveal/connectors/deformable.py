"""Multi-scale deformable attention: every query samples a few points of each map."""

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function

from foveal.core import Grid, without_autocast


def deformable_attention(value: Tensor, grids: Sequence[Grid], locations: Tensor, weights: Tensor) -> Tensor:
    """Compute the weighted sum of bilinear samples (Deformable DETR, arXiv 2010.04159, equation 3).

    Points outside a map count as zero. Computed in float32 or better: half precision would round locations by tenths of
    a cell.

    Args:
        value: [batch, keys, heads, head_width], all maps concatenated, each row by row.
        grids: rows and columns of each map.
        locations: [batch, queries, heads, maps, points, 2], (x, y) in 0..1 from edge to edge.
        weights: [batch, queries, heads, maps, points].

    Returns:
        [batch, queries, heads*head_width], in the dtype of `value`
    """
    if has_torch_function((value, locations, weights)):  # such as `RecordedAttention`
        computed: Tensor = handle_torch_function(
            deformable_attention, (value, locations, weights), value, grids, locations, weights
        )
        return computed
    batch, keys, heads, head_width = value.shape
    with without_autocast(value.device):
        kind = torch.promote_types(value.dtype, torch.float32)
        found, shares = neighbours(grids, locations.to(kind))
        views = torch.arange(batch, device=value.device)[:, None] * keys * heads
        planes = (views + torch.arange(heads, device=value.device)).view(batch, 1, heads, 1, 1, 1)
        # All neighbours of a query form one bag, summed while it is fetched: faster than one F.grid_sample per map
        # (tools/bench/deformable.py), and the backward pass is deterministic on every device.
        summed = F.embedding_bag(
            (found * heads + planes).flatten(3).flatten(0, 2),
            value.to(kind).reshape(-1, head_width),
            mode="sum",
            per_sample_weights=(shares * weights.to(kind)[..., None]).flatten(3).flatten(0, 2),
        )
    result: Tensor = summed.view(batch, -1, heads * head_width).to(value)
    return result


def neighbours(grids: Sequence[Grid], locations: Tensor) -> tuple[Tensor, Tensor]:
    """The four keys around each location, and their weights in the bilinear sample there.

    Args:
        grids: rows and columns of each map.
        locations: [..., maps, points, 2], (x, y) in 0..1 from edge to edge.

    Returns:
        keys and weights, [..., maps, points, 4] each; a neighbour outside its map has weight 0.
    """
    sizes = torch.tensor([(columns, rows) for rows, columns in grids], device=locations.device)
    cells = sizes.prod(dim=1)
    first, columns, last = (cells.cumsum(dim=0) - cells)[:, None, None, None], sizes[:, :1, None, None], sizes - 1
    places = (locations * sizes[:, None] - 0.5)[..., None]
    low = places.floor()
    cell = torch.cat([low, low + 1], dim=-1)  # [..., maps, points, 2 of x and y, 2 sides]
    held = cell.clamp(torch.zeros_like(last)[:, None, :, None], last[:, None, :, None])
    shares = torch.cat([1 - (places - low), places - low], dim=-1) * (cell == held)
    across, down = held.long()[..., None, :].unbind(dim=-3)
    keys = first + down.mT * columns + across
    return keys.flatten(-2), (shares[..., 1, :, None] * shares[..., 0, None, :]).flatten(-2)


class DeformableAttention(nn.Module):
    """Attention in which queries predict where to sample around their reference points (arXiv 2010.04159, section 4.1).

    Args:
        width: channels.
        heads: attention heads.
        maps: number of maps to sample.
        points: points that a query samples per map and head.

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
        """Sample the values around the reference points.

        Args:
            query: [batch, queries, width].
            reference: [1 or batch, queries, 1 or maps, 2] as (x, y) in 0..1, or with 4 as boxes (x, y, width, height);
                offsets are then in units of half a box.
            values: [batch, keys, width], all maps concatenated.
            grids: rows and columns of each map.
            mask: [batch, keys], True for keys that count.

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
    """Initial offsets, [heads, maps, points, 2]: each head has its own direction, each point is farther out."""
    angles = torch.arange(heads) * (2 * pi / heads)
    directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
    directions = directions / directions.abs().amax(dim=-1, keepdim=True)
    distances = torch.arange(1, points + 1)[:, None]
    return (directions[:, None, None] * distances).expand(-1, maps, -1, -1).clone()


def centres(grid: Grid, device: torch.device) -> Tensor:
    """The centre of each cell as (x, y) in 0..1, row by row: [1, rows*columns, 1, 2], float32."""
    down, across = ((torch.arange(side, device=device) + 0.5) / side for side in grid)
    return torch.stack([across.expand(grid[0], -1), down[:, None].expand(-1, grid[1])], dim=-1).reshape(1, -1, 1, 2)

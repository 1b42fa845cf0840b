"""Rotary positions on a grid, for blocks that rotate a channel with its counterpart in the other half of a head."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from foveal.core import Grid, attention
from foveal.encoders.block import Block


class Rotation(NamedTuple):
    """Cosines and sines of the angles by which queries and keys are rotated, float32 [tokens, head_width / 2] each."""

    cosines: Tensor
    sines: Tensor


def grid_rotation(grid: Grid, head_width: int, theta: float, device: torch.device) -> Rotation:
    """The rotation of every patch, row by row: half of the angles follow its row, the other half its column.

    As in Qwen2-VL (arXiv 2409.12191, section 2.1), from RoPE (arXiv 2104.09864, section 3.2.2).

    Args:
        grid: rows and columns of patches.
        head_width: channels of an attention head, a multiple of 4.
        theta: base of the frequencies.
        device: where the angles are computed.
    """
    half = head_width // 2
    frequencies = theta ** (-torch.arange(0, half, 2, dtype=torch.float32, device=device) / half)
    rows, columns = (torch.arange(length, dtype=torch.float32, device=device) for length in grid)
    by_row = (rows[:, None] * frequencies)[:, None].expand(-1, grid.columns, -1)
    by_column = (columns[:, None] * frequencies).expand(grid.rows, -1, -1)
    angles = torch.cat([by_row, by_column], dim=-1).flatten(0, 1)
    return Rotation(angles.cos(), angles.sin())


class RotaryBlock(Block):
    """A block whose queries and keys are rotated by their positions; without `layer_scale`."""

    def forward(self, hidden: Tensor, lengths: Sequence[int] | None = None, rotation: Rotation | None = None) -> Tensor:
        """[batch, tokens, width] -> the same shape; `lengths` are those of packed sequences."""
        query, key, value = self.qkv(self.attention_norm(hidden)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        if rotation is not None:
            query, key = _rotated(query, rotation), _rotated(key, rotation)
        attended = attention(query, key, value, lengths=lengths, backend=self.backend)
        hidden = hidden + self.out(attended.flatten(2))
        result: Tensor = hidden + self.down(self._activated(self.up(self.mlp_norm(hidden))))
        return result


def _rotated(states: Tensor, rotation: Rotation) -> Tensor:
    """[batch, tokens, heads, head_width], rotated in float32 or better: channel i with channel i + head_width / 2."""
    cosines, sines = (each[:, None] for each in rotation)
    first, second = states.to(torch.promote_types(states.dtype, torch.float32)).chunk(2, dim=-1)
    turned = torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
    return turned.to(states.dtype)

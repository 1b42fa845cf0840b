"""Blocks that rotate neighbouring pairs of channels by row and column (RoPE in two dimensions)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from foveal.core import Grid, attention, without_autocast
from foveal.encoders.block import Block

BASE = 10000.0


class InterleavedRotaryBlock(Block):
    """A block that rotates its queries and keys (RoFormer, arXiv 2104.09864; in two dimensions as in Kimi-VL's
    MoonViT, arXiv 2504.07491, section 2.1)."""

    def forward(self, hidden: Tensor, lengths: Sequence[int] | None = None, angles: Tensor | None = None) -> Tensor:
        """[batch, tokens, width] -> [batch, tokens, width].

        Args:
            hidden: the tokens of views, each a sequence, or all packed into one.
            lengths: number of tokens of each packed sequence.
            angles: [tokens, head_width / 2] from `angles_of`; None: nothing is rotated.
        """
        query, key, value = self.qkv(self.attention_norm(hidden)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        if angles is not None:
            query, key = rotated(query, angles), rotated(key, angles)
        hidden = hidden + self.out(attention(query, key, value, lengths=lengths, backend=self.backend).flatten(2))
        result: Tensor = hidden + self.down(self._activated(self.up(self.mlp_norm(hidden))))
        return result


def angles_of(grid: Grid, head_width: int, device: torch.device) -> Tensor:
    """The angles of a grid's cells, row by row: [rows*columns, head_width / 2], float32.

    Pairs of channels take turns: the first of two turns with the column, the second with the row, both at the
    frequency 10000^(-4i / head_width).
    """
    frequencies = BASE ** (-torch.arange(0, head_width, 4, dtype=torch.float32, device=device) / head_width)
    down, across = (torch.arange(side, dtype=torch.float32, device=device)[:, None] * frequencies for side in grid)
    columns, rows = across[None].expand(grid[0], -1, -1), down[:, None].expand(-1, grid[1], -1)
    return torch.stack([columns, rows], dim=-1).flatten(2).flatten(0, 1)


def rotated(heads: Tensor, angles: Tensor) -> Tensor:
    """Turn neighbouring pairs of channels by the angles, in float32: [batch, tokens, heads, head_width] -> the same."""
    with without_autocast(heads.device):
        cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
        first, second = heads.to(torch.promote_types(heads.dtype, torch.float32)).unflatten(-1, (-1, 2)).unbind(-1)
        turned = torch.stack([first * cosine - second * sine, first * sine + second * cosine], dim=-1).flatten(-2)
    return turned.to(heads.dtype)

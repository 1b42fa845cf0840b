"""Rotary positions (RoPE) of sequences and of grids, and blocks whose queries and keys are rotated by them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from foveal.core import Grid
from foveal.encoders.block import Block


class Rotation(NamedTuple):
    """Cosines and sines of the angles by which queries and keys are rotated, float32 [tokens, head_width / 2] each."""

    cosines: Tensor
    sines: Tensor

    @classmethod
    def by(cls, angles: Tensor) -> "Rotation":
        """The rotation by these angles."""
        return cls(angles.cos(), angles.sin())

    @classmethod
    def joined(cls, rotations: Iterable["Rotation"]) -> "Rotation":
        """The rotation of sequences that are packed one after the other."""
        return cls(*(torch.cat(each) for each in zip(*rotations, strict=True)))


def sequence_rotation(tokens: int, head_width: int, base: float, device: torch.device) -> Rotation:
    """The rotation of positions 0, 1, 2 ... (RoFormer, arXiv 2104.09864, section 3.2.2).

    Args:
        tokens: number of positions.
        head_width: channels of an attention head, a multiple of 2.
        base: base of the frequencies.
        device: where the angles are computed.
    """
    return Rotation.by(_angles(tokens, _frequencies(head_width, base, device)))


def grid_rotation(grid: Grid, head_width: int, base: float, device: torch.device) -> Rotation:
    """The rotation of every cell, row by row: the first half of the angles follows its row, the second its column.

    As in Qwen2-VL (arXiv 2409.12191, section 2.1).

    Args:
        grid: rows and columns.
        head_width: channels of an attention head, a multiple of 4.
        base: base of the frequencies.
        device: where the angles are computed.
    """
    return Rotation.by(torch.cat(_rows_and_columns(grid, head_width, base, device), dim=-1).flatten(0, 1))


def interleaved_grid_rotation(grid: Grid, head_width: int, base: float, device: torch.device) -> Rotation:
    """As `grid_rotation`, with angles that take turns: of two, the first follows the column, the second the row.

    As in Kimi-VL's MoonViT (arXiv 2504.07491, section 2.1).
    """
    rows, columns = _rows_and_columns(grid, head_width, base, device)
    return Rotation.by(torch.stack([columns, rows], dim=-1).flatten(2).flatten(0, 1))


def rotated(heads: Tensor, rotation: Rotation) -> Tensor:
    """Turn channel i together with channel i + head_width / 2, in float32 or better.

    Args:
        heads: [batch, tokens, heads, head_width].
        rotation: of these tokens.

    Returns:
        the same shape, in the dtype of `heads`
    """
    first, second = _wide(heads).chunk(2, dim=-1)
    return torch.cat(_turned(first, second, rotation), dim=-1).to(heads.dtype)


def rotated_neighbours(heads: Tensor, rotation: Rotation) -> Tensor:
    """As `rotated`, but turn neighbouring channels together: 0 and 1, 2 and 3 ..."""
    first, second = _wide(heads).unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack(_turned(first, second, rotation), dim=-1).flatten(-2).to(heads.dtype)


class RotaryBlock(Block):
    """A block whose queries and keys are `rotated`."""

    @staticmethod
    def rotate(heads: Tensor, rotation: Rotation) -> Tensor:
        """Queries or keys at their positions."""
        return rotated(heads, rotation)

    def forward(self, hidden: Tensor, lengths: Sequence[int] | None = None, rotation: Rotation | None = None) -> Tensor:
        """[batch, tokens, width] -> the same shape.

        Args:
            hidden: the tokens of views, each a sequence, or all packed into one.
            lengths: number of tokens of each packed sequence.
            rotation: of these tokens; None: nothing is rotated.
        """
        query, key, value = self._projected(hidden)
        if rotation is not None:
            query, key = self.rotate(query, rotation), self.rotate(key, rotation)
        return self._finished(hidden, query, key, value, lengths)


class InterleavedRotaryBlock(RotaryBlock):
    """A `RotaryBlock` that turns neighbouring channels together, as MoonViT does."""

    @staticmethod
    def rotate(heads: Tensor, rotation: Rotation) -> Tensor:
        """Queries or keys at their positions."""
        return rotated_neighbours(heads, rotation)


def _frequencies(width: int, base: float, device: torch.device) -> Tensor:
    """[width / 2], from 1 down to nearly 1 / `base`."""
    return base ** (-torch.arange(0, width, 2, dtype=torch.float32, device=device) / width)


def _angles(number: int, frequencies: Tensor) -> Tensor:
    return torch.arange(number, dtype=torch.float32, device=frequencies.device)[:, None] * frequencies


def _rows_and_columns(grid: Grid, head_width: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """The angles of every cell's row and of its column, [rows, columns, head_width / 4] each."""
    down, across = (_angles(number, _frequencies(head_width // 2, base, device)) for number in grid)
    return down[:, None].expand(-1, grid.columns, -1), across.expand(grid.rows, -1, -1)


def _wide(heads: Tensor) -> Tensor:
    return heads.to(torch.promote_types(heads.dtype, torch.float32))


def _turned(first: Tensor, second: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor]:
    cosines, sines = (each[:, None] for each in rotation)
    return first * cosines - second * sines, second * cosines + first * sines

"""Helpers for connectors with learned positions and end tokens."""

import torch
from torch import Tensor, nn

from foveal.connectors.sincos import resampled
from foveal.core import Grid


def positions_for(table: Tensor, base: Grid, grid: Grid) -> Tensor:
    """Resample a table bicubically: [1, rows*columns of `base`, width] -> [1, rows*columns of `grid`, width]."""
    return table if grid == base else resampled(table[0], base, grid)[None]


def small(*shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(shape), std=0.02)


def with_end_rows(shares: Tensor, num_end_tokens: int) -> Tensor:
    """[tokens, patches] -> [tokens + end tokens, patches]; no patch is in an end token."""
    return torch.cat([shares, shares.new_zeros(num_end_tokens, shares.shape[1])])


def with_end_tokens(tokens: Tensor, end_tokens: Tensor | None) -> Tensor:
    return tokens if end_tokens is None else torch.cat([tokens, end_tokens.expand(len(tokens), -1, -1)], dim=1)

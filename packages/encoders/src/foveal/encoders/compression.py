"""Windowed token compression: four neighbouring tokens become one inside of an encoder (LLaVA-UHD v3)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core import Grid

Compression = Literal["learned", "mean"]


class WindowedTokenCompression(nn.Module):
    """2 x 2 tokens become one (LLaVA-UHD v3, arXiv 2511.21150: WTC; released code).

        a_i = W_2 GELU(W_1 [x_i | mean of x] + b_1),  result = sum over i of softmax_i(a) x_i, channel by channel

    W_2 starts at zero, so that the result is the mean. The released code also adds a bias to a_i, which cannot change
    the softmax, and starts from W_1 = 0, from where no gradient leads away.

    Args:
        width: channels of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.hidden = nn.Linear(2 * width, width)
        self.logits = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.logits.weight)

    def forward(self, windows: Tensor) -> Tensor:
        """[..., 4, width] -> [..., width]"""
        means = windows.mean(dim=-2, keepdim=True).expand_as(windows)
        logits = self.logits(F.gelu(self.hidden(torch.cat([windows, means], dim=-1))))
        result: Tensor = (logits.float().softmax(dim=-2).to(windows.dtype) * windows).sum(dim=-2)
        return result


class MeanCompression(nn.Module):
    """The mean of 2 x 2 tokens."""

    def forward(self, windows: Tensor) -> Tensor:
        """[..., 4, width] -> [..., width]"""
        return windows.mean(dim=-2)


def windows_of(tokens: Tensor, grids: Sequence[Grid]) -> Tensor:
    """Gather 2 x 2 neighbouring tokens: [batch, tokens of all grids, width] -> [batch, tokens / 4, 4, width].

    Args:
        tokens: the tokens of each grid row by row, one grid after the other.
        grids: of even numbers of rows and columns.
    """
    places, start = [], 0
    for rows, columns in grids:
        cells = torch.arange(start, start + rows * columns, device=tokens.device)
        places.append(cells.view(rows // 2, 2, columns // 2, 2).transpose(1, 2).reshape(-1, 4))
        start += rows * columns
    return tokens[:, torch.cat(places)]


def halved(grid: Grid) -> Grid:
    """The grid of the compressed tokens."""
    return Grid(grid[0] // 2, grid[1] // 2)

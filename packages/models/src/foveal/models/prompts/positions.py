"""Positions on a grid: time, row and column of each token, for language models with multimodal rotary positions."""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from foveal.core import Grid
from foveal.models.prompts.batch import Sample
from foveal.models.prompts.constants import IMAGE_TOKEN_ID


def grid_positions(ids: Sequence[int], grids: Iterable[Grid]) -> Tensor:
    """Time, row and column of each token of a sample (M-RoPE of Qwen2-VL, arXiv 2409.12191, section 2.1).

    For text the three are alike and count on. All tokens of a picture have one time; rows and columns count from there.
    The text after a picture goes on after its last row or column, whichever is further.

    Args:
        ids: the sample's tokens, `IMAGE_TOKEN_ID` at those of pictures.
        grids: rows and columns of the tokens of each picture, in reading order; further ones are not read.

    Returns:
        [3, tokens]
    """
    rest, parts = iter(grids), [torch.zeros(3, 0, dtype=torch.long)]
    start = position = 0
    while start < len(ids):
        if ids[start] == IMAGE_TOKEN_ID:
            grid = next(rest)
            places = torch.cartesian_prod(torch.tensor([0]), torch.arange(grid.rows), torch.arange(grid.columns)).T
            length, further = grid.cells, max(grid)
        else:
            end = ids.index(IMAGE_TOKEN_ID, start) if IMAGE_TOKEN_ID in ids[start:] else len(ids)
            length = further = end - start
            places = torch.arange(length).expand(3, -1)
        parts.append(places + position)
        start, position = start + length, position + further
    return torch.cat(parts, dim=1)


def padded_positions(samples: Sequence[Sample], side: Literal["right", "left"]) -> Tensor | None:
    """The samples' positions, padded with 0 to [3, batch, tokens]; None: tokens are counted."""
    positions = [sample.position_ids.T for sample in samples if sample.position_ids is not None]
    if not positions:
        return None
    return pad_sequence(positions, batch_first=True, padding_side=side).permute(2, 0, 1)


def packed_positions(rows: Sequence[Sequence[Sample]], counted: Tensor) -> Tensor:
    """The positions of packed rows: `counted` itself, or with positions on a grid [4, batch, tokens].

    Args:
        rows: samples of each row.
        counted: [batch, tokens], starting at 0 in each sample; padding keeps these positions.
    """
    if all(sample.position_ids is None for row in rows for sample in row):
        return counted
    positions = counted.expand(4, -1, -1).clone()
    for number, row in enumerate(rows):
        own = [sample.position_ids for sample in row if sample.position_ids is not None]
        joined = torch.cat([positions[1:, number, :0], *own], dim=1)
        positions[1:, number, : joined.shape[1]] = joined
    return positions

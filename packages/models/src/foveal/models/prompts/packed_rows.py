"""Collate samples one after the other into rows of the same length."""

from collections.abc import Sequence

import torch
from torch import Tensor

from foveal.models.prompts.batch import Batch, Sample
from foveal.models.prompts.constants import IGNORE_INDEX
from foveal.models.prompts.positions import packed_positions


def collate_rows(rows: Sequence[Sequence[Sample]], length: int, pad_id: int) -> Batch:
    """A batch of rows of `length` tokens, each with several samples and then padding.

    Args:
        rows: samples of each row; a row may be empty.
        length: tokens of every row.
        pad_id: the id at padding.

    Raises:
        ValueError: if there is no sample, or a row is too long; the message names its samples.
    """
    samples = [sample for row in rows for sample in row]
    if not samples:
        raise ValueError("a batch needs at least one sample")
    for row in rows:
        if (total := sum(len(sample.input_ids) for sample in row)) > length:
            raise ValueError(
                f"{', '.join(sample.key for sample in row)}: {total} tokens do not fit into a packed row of {length}"
            )
    longest = max(len(sample.input_ids) for sample in samples)
    positions = [_positions([len(sample.input_ids) for sample in row], length, longest) for row in rows]
    return Batch(
        torch.stack([_row([sample.input_ids for sample in row], length, pad_id) for row in rows]),
        torch.stack([_row([_without_first(sample.labels) for sample in row], length, IGNORE_INDEX) for row in rows]),
        torch.stack([_row([torch.ones_like(sample.input_ids) for sample in row], length, 0) for row in rows]).bool(),
        tuple(view for sample in samples for view in sample.views),
        tuple(sample.key for sample in samples),
        tuple(size for sample in samples for size in sample.sizes),
        position_ids=packed_positions(rows, torch.stack(positions)),
    )


def _row(parts: list[Tensor], length: int, padding: int) -> Tensor:
    row = torch.full((length,), padding)
    joined = torch.cat([row[:0], *parts])
    row[: len(joined)] = joined
    return row


def _without_first(labels: Tensor) -> Tensor:
    """The labels without a target at the first token, which would be one for the last token of the sample before it."""
    labels = labels.clone()
    labels[:1] = IGNORE_INDEX
    return labels


def _positions(lengths: list[int], length: int, longest: int) -> Tensor:
    """Positions from 0 in each sample.

    Padding is numbered like further samples, no longer than the longest real one: no position is beyond the model's
    context, and padding sees nothing but padding.
    """
    rest = length - sum(lengths)
    parts = [*lengths, *([longest] * (rest // longest)), rest % longest]
    return torch.cat([torch.arange(part) for part in parts])

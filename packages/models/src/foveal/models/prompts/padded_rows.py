"""Collate samples into rows of their own, padded to the longest."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from foveal.models.prompts.batch import Batch, Sample
from foveal.models.prompts.constants import IGNORE_INDEX
from foveal.models.prompts.positions import padded_positions


def collate_padded(samples: Sequence[Sample], pad_id: int, side: Literal["right", "left"]) -> Batch:
    """A batch of one sample for each row, padded on one side.

    Args:
        samples: the rows.
        pad_id: the id at padding.
        side: where padding is.

    Raises:
        ValueError: if there is no sample.
    """
    if not samples:
        raise ValueError("a batch needs at least one sample")

    def padded(rows: list[Tensor], value: int) -> Tensor:
        return pad_sequence(rows, batch_first=True, padding_value=value, padding_side=side)

    return Batch(
        padded([sample.input_ids for sample in samples], pad_id),
        padded([sample.labels for sample in samples], IGNORE_INDEX),
        padded([torch.ones(len(sample.input_ids), dtype=torch.long) for sample in samples], 0).bool(),
        tuple(view for sample in samples for view in sample.views),
        tuple(sample.key for sample in samples),
        tuple(size for sample in samples for size in sample.sizes),
        position_ids=padded_positions(samples, side),
    )

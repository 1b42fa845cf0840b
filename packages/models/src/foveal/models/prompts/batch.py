"""Samples and batches: one or several conversations as tensors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from foveal.core import Size


@dataclass(frozen=True)
class Sample:
    """One conversation.

    Attributes:
        input_ids: [tokens], `IMAGE_TOKEN_ID` where visual tokens are written.
        labels: [tokens], `IGNORE_INDEX` at unsupervised tokens.
        views: [3, height, width] each, uint8, in the order of their placeholders.
        key: the sample's name in messages.
        sizes: size of each picture before it was cut into views.
        position_ids: [3, tokens], time, row and column of each token, see `grid_positions`; None: tokens are counted.
    """

    input_ids: Tensor
    labels: Tensor
    views: tuple[Tensor, ...]
    key: str
    sizes: tuple[Size, ...] = ()
    position_ids: Tensor | None = None


class Measure(NamedTuple):
    """Numbers of a sample: its tokens, those of pictures among them, and those that are supervised."""

    tokens: int
    visual: int
    supervised: int


@dataclass
class Batch:
    """Several conversations, padded to the longest or packed into rows of one length; views are not padded.

    It is not frozen because Lightning sets the fields of a copy when it changes the dtype of a batch.

    Attributes:
        input_ids: [batch, tokens].
        labels: [batch, tokens].
        attention_mask: [batch, tokens], True at real tokens.
        views: [3, height, width] each, uint8; of all samples, one sample after the other.
        keys: the samples' names in messages.
        sizes: size of each picture, in the order of the views.
        left_out: one message for each sample that cannot be used and is not in the batch.
        position_ids: [batch, tokens], starting at 0 in each of several samples that a row holds; None: each row is one
            sample. With positions on a grid, [3, batch, tokens] if each row is one sample (time, row and column, see
            `grid_positions`), else [4, batch, tokens], of which the first starts at 0 in each sample.
    """

    input_ids: Tensor
    labels: Tensor
    attention_mask: Tensor
    views: tuple[Tensor, ...]
    keys: tuple[str, ...]
    sizes: tuple[Size, ...] = ()
    left_out: tuple[str, ...] = ()
    position_ids: Tensor | None = None

    @property
    def within(self) -> Tensor:
        """[batch, tokens], the number of each token in its own sample, from 0; at padding any number."""
        given = self.position_ids
        if given is None or given.shape[:-2] == (3,):
            return self.attention_mask.cumsum(dim=1) - 1
        return given if given.ndim == 2 else given[0]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The batch on another device."""
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, from which copies to a GPU are faster."""
        return self._with_tensors(lambda tensor: tensor.pin_memory())

    def _with_tensors(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        return replace(
            self,
            input_ids=change(self.input_ids),
            labels=change(self.labels),
            attention_mask=change(self.attention_mask),
            views=tuple(change(view) for view in self.views),
            position_ids=None if self.position_ids is None else change(self.position_ids),
        )


def position_ids(attention_mask: Tensor) -> Tensor:
    """Positions 0, 1, 2 ... of the real tokens of every row, so that padding on either side changes nothing.

    Args:
        attention_mask: [batch, tokens], True at real tokens.
    """
    return (attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0)

"""One conversation, and several, as tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """One conversation.

    Attributes:
        input_ids: [tokens], `IMAGE_TOKEN_ID` where visual tokens are written.
        labels: [tokens], `IGNORE_INDEX` where nothing is learnt.
        views: [3, height, width] each, uint8, in the order of their placeholders.
        key: the sample's name in messages.
    """

    input_ids: Tensor
    labels: Tensor
    views: tuple[Tensor, ...]
    key: str


@dataclass(frozen=True)
class Batch:
    """Several conversations, padded to the longest; views are not padded.

    Attributes:
        input_ids: [batch, tokens].
        labels: [batch, tokens].
        attention_mask: [batch, tokens], True at real tokens.
        views: [3, height, width] each, uint8; all samples', one sample after the other.
        keys: the samples' names in messages.
    """

    input_ids: Tensor
    labels: Tensor
    attention_mask: Tensor
    views: tuple[Tensor, ...]
    keys: tuple[str, ...]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same on another device."""
        return Batch(
            self.input_ids.to(device, non_blocking=non_blocking),
            self.labels.to(device, non_blocking=non_blocking),
            self.attention_mask.to(device, non_blocking=non_blocking),
            tuple(view.to(device, non_blocking=non_blocking) for view in self.views),
            self.keys,
        )

    def pin_memory(self) -> "Batch":
        """The same in page-locked memory, from which copies to a GPU are faster."""
        return Batch(
            self.input_ids.pin_memory(),
            self.labels.pin_memory(),
            self.attention_mask.pin_memory(),
            tuple(view.pin_memory() for view in self.views),
            self.keys,
        )

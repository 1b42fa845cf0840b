"""What a model says of its errors on a batch."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TokenLoss:
    """The summed cross-entropy of a batch and how many tokens it was summed over.

    Kept apart because the mean that matters is the one of the whole optimizer step, over all of its batches and ranks.
    """

    total: Tensor
    tokens: int

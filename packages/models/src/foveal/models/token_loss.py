"""The loss of a model on a batch."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TokenLoss:
    """The summed cross-entropy of a batch and the number of tokens that it was summed over.

    The two are kept apart because the relevant mean is over the whole optimizer step, with all its batches and ranks.
    """

    total: Tensor
    tokens: int

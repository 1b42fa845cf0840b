"""Exact match."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_answers, normalised


class ExactMatch(Metric):
    """Share of answers that equal an accepted one; case and repeated white space are ignored."""

    higher_is_better = True
    full_state_update = False
    right: Tensor
    answers: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("right", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("answers", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Add predictions, each with its accepted answers."""
        check_answers(predictions, references)
        for prediction, accepted in zip(predictions, references, strict=True):
            self.right = self.right + (normalised(prediction) in {normalised(answer) for answer in accepted})
        self.answers = self.answers + len(predictions)

    def compute(self) -> Tensor:
        """The share, 0 to 1."""
        return self.right / self.answers

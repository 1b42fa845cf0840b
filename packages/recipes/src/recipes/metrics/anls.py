"""Average normalised Levenshtein similarity."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_answers, distance, normalised


class ANLS(Metric):
    """Average normalised Levenshtein similarity (Biten et al., ICDAR 2019, arXiv 1907.00490, equation 1).

    An answer scores its similarity to the nearest accepted answer, or 0 if that is below `threshold`. As in DocVQA's
    evaluation, case and repeated white space are ignored in the edits, but the length is that of the raw answers:
    "the  cat", with two spaces, is 1 edit in 8 characters away from "the bat".

    Args:
        threshold: smallest similarity that scores.
    """

    higher_is_better = True
    full_state_update = False
    total: Tensor
    answers: Tensor

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("answers", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Add predictions, each with its accepted answers."""
        check_answers(predictions, references)
        for prediction, accepted in zip(predictions, references, strict=True):
            best = max(similarity(prediction, answer) for answer in accepted)
            self.total = self.total + (best if best >= self.threshold else 0.0)
        self.answers = self.answers + len(predictions)

    def compute(self) -> Tensor:
        """The mean score, 0 to 1."""
        return (self.total / self.answers).float()


def similarity(first: str, second: str) -> float:
    """1 - edits / longer length; 1 for two empty texts.

    Edits are counted between the normalised texts. Lengths are those of the raw texts in upper case, as in the
    reference (lmms-eval): white space at the ends counts, and "ß" is two letters.
    """
    longest = max(len(first.upper()), len(second.upper()))
    return 1.0 if longest == 0 else 1 - distance(normalised(first), normalised(second)) / longest

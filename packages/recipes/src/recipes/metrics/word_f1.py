"""Words that a short answer shares with its reference."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_answers, normalised
from recipes.metrics.mean import add_counts
from recipes.metrics.page_ocr import overlap


class WordF1(Metric):
    """F1 of words and share of exact matches, without regard to case and full stops; the best of several references.

    For open answers such as NExT-QA's where WordNet, which `Wups` needs, is not at hand.

    Attributes:
        missing: number of missing answers, which score 0.
    """

    higher_is_better = True
    full_state_update = False
    totals: Tensor
    answers: Tensor
    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        add_counts(self, "answers", "missing")

    def update(self, predictions: Sequence[str | None], references: Sequence[Sequence[str]]) -> None:
        """Add predictions (None: missing), each with its references.

        Raises:
            ValueError: if there are not as many references as predictions, or one has none.
        """
        check_answers(predictions, references)
        for prediction, accepted in zip(predictions, references, strict=True):
            said, truths = _words(prediction or ""), [_words(each) for each in accepted]
            self.missing = self.missing + (prediction is None)
            if prediction is not None:
                scores = (max(overlap(said, true)[2] for true in truths), float(said in truths))
                self.totals = self.totals + self.totals.new_tensor(scores)
        self.answers = self.answers + len(predictions)

    def compute(self) -> dict[str, Tensor]:
        """The means `f1` and `exact`, 0 to 1."""
        f1, exact = (self.totals / self.answers).float()
        return {"f1": f1, "exact": exact}


def _words(text: str) -> list[str]:
    return normalised(text.replace(".", " ")).split()

"""Questions about documents of several pages: MP-DocVQA."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_answers, check_lengths, relative_distance
from recipes.metrics.mean import add_counts

NOT_ANSWERABLE = ("none", "not answerable", "n/a", "na")
"""Predictions, in lower case, that are right if a question cannot be answered."""
LEAST = 0.5


class MpDocVqa(Metric):
    """Accuracy, ANLS and accuracy of the page (MP-DocVQA, Tito et al., arXiv 2212.05935; its framework's metrics).

    Unlike DocVQA, inner white space counts, and the prediction "none" is wrong even if the reference is "none".

    Args:
        strict_reference: count an empty answer to a question that cannot be answered as right in the accuracy, as the
            published code does; otherwise it is wrong.

    Attributes:
        missing: number of missing answers, which score 0.
    """

    higher_is_better = True
    full_state_update = False
    totals: Tensor
    answers: Tensor
    pages: Tensor
    missing: Tensor

    def __init__(self, strict_reference: bool = False) -> None:
        super().__init__()
        self.strict_reference = strict_reference
        self.add_state("totals", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")
        add_counts(self, "answers", "pages", "missing")

    def update(
        self,
        predictions: Sequence[str | None],
        references: Sequence[Sequence[str]],
        answerable: Sequence[bool],
        predicted_pages: Sequence[int | None],
        pages: Sequence[int | None],
    ) -> None:
        """Add predictions.

        Args:
            predictions: the answers; None: missing.
            references: the accepted answers.
            answerable: whether the document answers the question.
            predicted_pages: indices of pages, from 0; None: none was given, which is wrong.
            pages: the true indices; None: not to be scored.

        Raises:
            ValueError: if the lengths differ, or a question has no accepted answer.
        """
        check_answers(predictions, references)
        check_lengths(predictions=predictions, answerable=answerable, predicted_pages=predicted_pages, pages=pages)
        rows = zip(predictions, references, answerable, predicted_pages, pages, strict=True)
        for prediction, accepted, can, predicted_page, page in rows:
            scores = 0.0, 0.0
            if prediction is not None:
                strict = self.strict_reference
                scores = document_scores(prediction, accepted, answerable=can, strict_reference=strict)
            hit = float(page is not None and predicted_page == page)
            self.totals = self.totals + self.totals.new_tensor([*scores, hit])
            self.pages = self.pages + (page is not None)
            self.missing = self.missing + (prediction is None)
        self.answers = self.answers + len(predictions)

    def compute(self) -> dict[str, Tensor]:
        """`accuracy`, `anls` and `page_accuracy`, 0 to 1; the last is left out if no page was to be scored."""
        accuracy, anls, hits = self.totals
        found = {"accuracy": accuracy / self.answers, "anls": anls / self.answers}
        if self.pages:
            found["page_accuracy"] = hits / self.pages
        return {name: score.float() for name, score in found.items()}


def document_scores(
    prediction: str, accepted: Sequence[str], *, answerable: bool = True, strict_reference: bool = False
) -> tuple[float, float]:
    """Accuracy and ANLS of one answer, see `MpDocVqa`."""
    said = prediction.lower().strip()
    if not answerable:
        right = float(said in NOT_ANSWERABLE)
        return float(strict_reference and not said) or right, right
    if said == "none":
        return 0.0, 0.0
    truths = [answer.lower().strip() for answer in accepted]
    # Two empty texts are not alike here.
    alike = max(1 - relative_distance(said, true) if said or true else 0.0 for true in truths)
    return float(said in truths), alike if alike >= LEAST else 0.0

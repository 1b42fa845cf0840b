"""OCR scores of whole pages."""

import re
from collections import Counter
from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_answers, relative_distance
from recipes.metrics.mean import add_counts

TOKEN = re.compile(r"[\u4e00-\u9fa5]|[^\s\u4e00-\u9fa5]+")
SCORES = ("edit", "precision", "recall", "f1", "bag_precision", "bag_recall", "bag_f1")


class PageOcr(Metric):
    """Edit distance and overlap of words, averaged over pages (Vary, arXiv 2312.06109).

    Case, width and white space count in the edit distance; overlap is computed on `page_tokens`. A page with an empty
    prediction is scored, not left out; a missing one counts as empty. Of several accepted texts of a page, the nearest
    by edit distance is used. Lower is better for `ocr_edit`, higher for the other scores.

    Vary segments Chinese pages into words with jieba, while we use single characters: on such pages only `ocr_edit` is
    comparable with published figures. The F1 that Vary reports is `ocr_f1_of_means`; the scripts of GOT-OCR2.0 and Fox
    swap the names of precision and recall.

    Attributes:
        missing: number of missing predictions.
    """

    higher_is_better = False  # of `ocr_edit`, its first score
    full_state_update = False
    totals: Tensor
    pages: Tensor
    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(len(SCORES), dtype=torch.float64), dist_reduce_fx="sum")
        add_counts(self, "pages", "missing")

    def update(self, predictions: Sequence[str | None], references: Sequence[Sequence[str]]) -> None:
        """Add predicted pages (None: missing), each with its accepted texts.

        Raises:
            ValueError: if there are not as many references as predictions, or one has no accepted text.
        """
        check_answers(predictions, references)
        for said, accepted in zip(predictions, references, strict=True):
            prediction = said or ""
            edit, text = min((relative_distance(prediction, text), text) for text in accepted)
            predicted, true = page_tokens(prediction), page_tokens(text)
            scores = (edit, *overlap(set(predicted), set(true)), *overlap(predicted, true))
            self.totals = self.totals + self.totals.new_tensor(scores)
            self.missing = self.missing + (said is None)
        self.pages = self.pages + len(predictions)

    def compute(self) -> dict[str, Tensor]:
        """Means over pages, 0 to 1.

        `ocr_edit` is the edit distance. `ocr_precision`, `ocr_recall` and `ocr_f1` compare sets of words, so repeated
        words cost nothing; `ocr_bag_...` count repetitions. `..._f1_of_means` is the harmonic mean of mean precision
        and mean recall, as reported in papers.
        """
        means = dict(zip(SCORES, self.totals / self.pages, strict=True))
        for kind in ("", "bag_"):
            means[f"{kind}f1_of_means"] = harmonic(means[f"{kind}precision"], means[f"{kind}recall"])
        return {f"ocr_{name}": mean.float() for name, mean in means.items()}


def page_tokens(text: str) -> list[str]:
    """Split at white space; each Chinese character (U+4E00 to U+9FA5) is a token."""
    return TOKEN.findall(text)


def overlap(predicted: Collection[str], true: Collection[str]) -> tuple[float, float, float]:
    """Precision, recall and F1 of tokens, counted with repetitions; pass sets to ignore repetitions.

    All are 0 if only one side is empty, 1 if both are.
    """
    if not predicted or not true:
        score = float(not predicted and not true)
        return score, score, score
    common = (Counter(predicted) & Counter(true)).total()
    return common / len(predicted), common / len(true), 2 * common / (len(predicted) + len(true))


def harmonic(first: Tensor, second: Tensor) -> Tensor:
    """Harmonic mean; 0 for two zeros."""
    total = first + second
    return torch.where(total == 0, 0.0, 2 * first * second / total)

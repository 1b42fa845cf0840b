"""Scores of the text of whole pages, word by word: OCRBench v2's full-page score."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.text import bleu_score

from recipes.metrics.answers import check_lengths, relative_distance
from recipes.metrics.extras import library
from recipes.metrics.mean import add_counts
from recipes.metrics.page_ocr import overlap
from recipes.metrics.wordnet import wordnet

SCORES = ("bleu", "meteor", "precision", "recall", "f1", "edit")


class PageText(Metric):
    """BLEU, METEOR, overlap of words and edit distance, averaged over pages (OCRBench v2, its page_ocr_metric.py).

    Words are what white space separates; overlap is that of sets. A missing page scores as an empty one.
    `PageOcr` has Vary's scores, which need no further library.

    Attributes:
        missing: number of missing pages.

    Raises:
        ImportError: without nltk, when pages are added.
        LookupError: if WordNet is not on this machine, when pages are added.
    """

    full_state_update = False
    totals: Tensor
    pages: Tensor
    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(len(SCORES), dtype=torch.float64), dist_reduce_fx="sum")
        add_counts(self, "pages", "missing")

    def update(self, predictions: Sequence[str | None], references: Sequence[str]) -> None:
        """Add pages (None: missing) with their true texts.

        Raises:
            ValueError: if the lengths differ.
        """
        check_lengths(predictions=predictions, references=references)
        for prediction, reference in zip(predictions, references, strict=True):
            scores = page_scores(prediction or "", reference)
            self.totals = self.totals + self.totals.new_tensor([scores[name] for name in SCORES])
            self.missing = self.missing + (prediction is None)
        self.pages = self.pages + len(predictions)

    def compute(self) -> dict[str, Tensor]:
        """Means over pages, 0 to 1, and `full_page`, the mean of BLEU, METEOR, F1 and 1 - edit distance."""
        means = dict(zip(SCORES, self.totals / self.pages, strict=True))
        full = (means["bleu"] + means["meteor"] + means["f1"] + 1 - means["edit"]) / 4
        return {name: mean.float() for name, mean in (means | {"full_page": full}).items()}


def page_scores(prediction: str, reference: str) -> dict[str, float]:
    """The scores of one page; 0 where a score is not defined, as for an empty text.

    Raises:
        ImportError: without nltk.
        LookupError: if WordNet is not on this machine.
    """
    said, true = prediction.split(), reference.split()
    precision, recall, f1 = overlap(set(said), set(true)) if said and true else (0.0, 0.0, 0.0)
    return {
        "bleu": float(bleu_score([prediction], [[reference]])) if said and true else 0.0,
        "meteor": meteor(said, true),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "edit": relative_distance(prediction, reference),
    }


def meteor(prediction: Sequence[str], reference: Sequence[str]) -> float:
    """METEOR of two lists of words (Banerjee and Lavie, 2005), by NLTK.

    NLTK looks words up in WordNet after stemming, so that most synonyms do not match.

    Raises:
        ImportError: without nltk.
        LookupError: if WordNet is not on this machine.
    """
    score: float = library("nltk.translate.meteor_score").single_meteor_score(reference, prediction, wordnet=wordnet())
    return score

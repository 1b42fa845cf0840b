"""WUPS: how near the words of a short answer are to the reference's in WordNet."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_answers
from recipes.metrics.mean import add_counts
from recipes.metrics.wordnet import wordnet

FAR = 0.1
"""Factor of the similarity of words below the threshold."""


class Wups(Metric):
    """WUPS at 0 and at `threshold`, of answers that are lemmatised and freed of stop words (NExT-QA's open questions).

    Malinowski and Fritz, arXiv 1410.0210, section 4.2, as doc-doc/NExT-OE computes it: for every word of one text the
    best match in the other; words without a match are left out; the product over words; the smaller of both directions;
    the better of several references.

    Args:
        threshold: Wu-Palmer similarities below it count a tenth.

    Attributes:
        missing: number of missing answers, which score 0.

    Raises:
        ImportError: without nltk, when answers are added.
        LookupError: if WordNet is not on this machine, when answers are added.
    """

    higher_is_better = True
    full_state_update = False
    totals: Tensor
    answers: Tensor
    missing: Tensor

    def __init__(self, threshold: float = 0.9) -> None:
        super().__init__()
        self.threshold = threshold
        self.add_state("totals", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")
        add_counts(self, "answers", "missing")

    def update(self, predictions: Sequence[str | None], references: Sequence[Sequence[str]]) -> None:
        """Add predictions (None: missing), each with its references; words are separated by spaces.

        Raises:
            ValueError: if there are not as many references as predictions, or one has none.
        """
        check_answers(predictions, references)
        for prediction, accepted in zip(predictions, references, strict=True):
            said = (prediction or "").split()
            scores = [max(wups(said, each.split(), least) for each in accepted) for least in (0.0, self.threshold)]
            self.totals = self.totals + self.totals.new_tensor(scores)
            self.missing = self.missing + (prediction is None)
        self.answers = self.answers + len(predictions)

    def compute(self) -> dict[str, Tensor]:
        """The means, 0 to 1: `wups_0` without a threshold, and `wups` with it."""
        plain, strict = (self.totals / self.answers).float()
        return {"wups_0": plain, "wups": strict}


def wups(
    prediction: Sequence[str],
    reference: Sequence[str],
    threshold: float,
    similarity: Callable[[str, str], float] | None = None,
) -> float:
    """The WUPS of two lists of words.

    Args:
        prediction: words of the answer.
        reference: words of the reference.
        threshold: similarities below it count a tenth.
        similarity: of two words; None: `wu_palmer`.

    Raises:
        ImportError: without nltk.
        LookupError: if WordNet is not on this machine.
    """
    alike = similarity or wu_palmer

    def near(first: str, second: str) -> float:
        found = alike(first, second)
        return found if found >= threshold else FAR * found

    def covered(words: Sequence[str], others: Sequence[str]) -> float:
        best = [max((near(word, other) for other in others), default=0.0) for word in words]
        product, matched = 1.0, False
        for each in best:
            if each > 0:
                product, matched = product * each, True
        return product if matched else 0.0

    return min(covered(prediction, reference), covered(reference, prediction))


def wu_palmer(first: str, second: str) -> float:
    """Wu-Palmer similarity of the first synsets of two words; 1 for equal words, 0 if one is not in WordNet.

    Raises:
        ImportError: without nltk.
        LookupError: if WordNet is not on this machine.
    """
    if first == second:
        return 1.0
    one, other = wordnet().synsets(first), wordnet().synsets(second)
    return float(one[0].wup_similarity(other[0]) or 0.0) if one and other else 0.0

"""Words that a short answer shares with its reference."""

from collections.abc import Sequence

from recipes.metrics.answers import normalised
from recipes.metrics.mean import MeanScores
from recipes.metrics.page_ocr import overlap


class WordF1(MeanScores):
    """F1 of words and share of exact matches, without regard to case and full stops; the best of several references.

    For open answers such as NExT-QA's where WordNet, which `Wups` needs, is not at hand.
    """

    names = ("f1", "exact")

    def scores(self, prediction: str, references: Sequence[str]) -> tuple[float, float]:
        said, truths = _words(prediction), [_words(each) for each in references]
        return max(overlap(said, true)[2] for true in truths), float(said in truths)


def _words(text: str) -> list[str]:
    return normalised(text.replace(".", " ")).split()

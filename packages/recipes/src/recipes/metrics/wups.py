"""WUPS: how near the words of a short answer are to the reference's in WordNet."""

from collections.abc import Callable, Sequence

from recipes.metrics.mean import MeanScores
from recipes.metrics.wordnet import wordnet

FAR = 0.1
"""Factor of the similarity of words below the threshold."""


class Wups(MeanScores):
    """WUPS at 0 (`wups_0`) and at `threshold` (`wups`), of answers that are lemmatised and freed of stop words, such as
    those to NExT-QA's open questions.

    Malinowski and Fritz, arXiv 1410.0210, section 4.2, as doc-doc/NExT-OE computes it: for every word of one text the
    best match in the other; words without a match are left out; the product over words; the smaller of both directions;
    the better of several references.

    Args:
        threshold: Wu-Palmer similarities below it count a tenth.

    Raises:
        ImportError: without nltk, when answers are added.
        LookupError: if WordNet is not on this machine, when answers are added.
    """

    names = ("wups_0", "wups")

    def __init__(self, threshold: float = 0.9) -> None:
        super().__init__()
        self.threshold = threshold

    def scores(self, prediction: str, references: Sequence[str]) -> list[float]:
        """Words are separated by spaces."""
        said, truths = prediction.split(), [each.split() for each in references]
        return [max(wups(said, true, least) for true in truths) for least in (0.0, self.threshold)]


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

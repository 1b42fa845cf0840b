"""Average normalised Levenshtein similarity."""

from collections.abc import Sequence

from recipes.metrics.answers import distance, normalised
from recipes.metrics.mean import MeanScore


class ANLS(MeanScore):
    """Average normalised Levenshtein similarity (Biten et al., ICDAR 2019, arXiv 1907.00490, equation 1).

    An answer scores its similarity to the nearest accepted answer, or 0 if that is below `threshold`. As in DocVQA's
    evaluation, case and repeated white space are ignored in the edits, but the length is that of the raw answers:
    "the  cat", with two spaces, is 1 edit in 8 characters away from "the bat".

    Args:
        threshold: smallest similarity that scores.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def score(self, prediction: str, accepted: Sequence[str]) -> float:
        best = max(similarity(prediction, answer) for answer in accepted)
        return best if best >= self.threshold else 0.0


def similarity(first: str, second: str) -> float:
    """1 - edits / longer length; 1 for two empty texts.

    Edits are counted between the normalised texts. Lengths are those of the raw texts in upper case, as in the
    reference (lmms-eval): white space at the ends counts, and "ß" is two letters.
    """
    longest = max(len(first.upper()), len(second.upper()))
    return 1.0 if longest == 0 else 1 - distance(normalised(first), normalised(second)) / longest

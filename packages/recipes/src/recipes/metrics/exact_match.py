"""Exact match, and the rule of GQA."""

import string
from collections.abc import Sequence
from typing import Literal

from recipes.metrics.answers import check_option, normalised
from recipes.metrics.mean import MeanScore

GqaRule = Literal["lmms_eval", "llava"]
PUNCTUATION = str.maketrans("", "", string.punctuation)


class ExactMatch(MeanScore):
    """Share of answers that equal an accepted one; case and repeated white space are ignored.

    Args:
        full_stop: whether one full stop at the end counts.
    """

    def __init__(self, full_stop: bool = True) -> None:
        super().__init__()
        self.full_stop = full_stop

    def score(self, prediction: str, accepted: Sequence[str]) -> float:
        return float(self._plain(prediction) in map(self._plain, accepted))

    def _plain(self, text: str) -> str:
        plain = normalised(text)
        return plain if self.full_stop else plain.removesuffix(".").rstrip()


class GqaAccuracy(MeanScore):
    """Share of answers that equal the accepted one (GQA, Hudson and Manning, arXiv 1902.09506).

    Args:
        rule: `lmms_eval`: case, ASCII punctuation and white space at the ends are ignored on both sides, so that
            "tshirt" is "t-shirt"; `llava`: only the prediction's case and its full stops at the end, as in the table of
            LLaVA-1.5.

    Raises:
        ValueError: if the rule is unknown.
    """

    def __init__(self, rule: GqaRule = "lmms_eval") -> None:
        super().__init__()
        check_option("rule", rule, GqaRule)
        self.rule = rule

    def score(self, prediction: str, accepted: Sequence[str]) -> float:
        return float(any(gqa_match(prediction, answer, self.rule) for answer in accepted))


def gqa_match(prediction: str, answer: str, rule: GqaRule = "lmms_eval") -> bool:
    """Whether an answer is right by the rules of `GqaAccuracy`."""
    if rule == "llava":
        return prediction.rstrip(".").lower() == answer
    return _bare(prediction) == _bare(answer)


def _bare(text: str) -> str:
    return text.strip().lower().translate(PUNCTUATION)

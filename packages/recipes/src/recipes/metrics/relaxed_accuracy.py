"""Relaxed accuracy: numbers may be slightly off."""

from collections.abc import Sequence
from math import isnan

from recipes.metrics.mean import MeanScore


class RelaxedAccuracy(MeanScore):
    """Share of answers that match an accepted one, with numbers matching up to a relative error (ChartQA).

    Defined by Masry et al. (arXiv 2203.10244, end of section 5.1). What counts as a number, and how texts are compared,
    follows lmms-eval: see `relaxed_match`. The figure reported for ChartQA is the mean of the accuracies on its human
    and its augmented questions.

    Args:
        tolerance: largest relative error of a number, inclusive.

    Raises:
        ValueError: if the tolerance is negative or not a number.
    """

    def __init__(self, tolerance: float = 0.05) -> None:
        super().__init__()
        if not tolerance >= 0:
            raise ValueError(f"tolerance is a relative error, at least 0, not {tolerance}")
        self.tolerance = tolerance

    def score(self, prediction: str, accepted: Sequence[str]) -> float:
        return float(any(relaxed_match(prediction, answer, self.tolerance) for answer in accepted))


def relaxed_match(prediction: str, answer: str, tolerance: float) -> bool:
    """Whether two numbers differ by at most `tolerance` times the answer, or two texts are equal except for case.

    They are compared as texts if one of them is not a number or the answer is 0; then white space counts, and "0.0"
    does not match "0". A number is anything `float` parses, or that followed by "%", which divides it by 100: "50%"
    matches "0.5", not "50", and "1,000" is a text. "nan" is a text too, and matches itself; lmms-eval counts it as
    wrong even if the prediction is the same.
    """
    predicted, true = number(prediction), number(answer)
    if predicted is None or true is None or true == 0:
        return prediction.lower() == answer.lower()
    return abs(predicted - true) / abs(true) <= tolerance


def number(text: str) -> float | None:
    """The text as a number; None if it is not one."""
    try:
        parsed = float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
    return None if isnan(parsed) else parsed

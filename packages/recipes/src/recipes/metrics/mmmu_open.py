"""MMMU's open questions: find numbers and short texts in an answer."""

import re
from collections.abc import Sequence

from recipes.metrics.mean import MeanScore

INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
LONE = (":", ",", ".", "!", "?", ";", ":", "'")
WITH_COMMAS = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
SCIENTIFIC = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+")
PLAIN = re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])")

Value = float | str


class MmmuOpen(MeanScore):
    """Share of MMMU's open questions answered right (MMMU, Yue et al., arXiv 2311.16502; its eval_utils.py).

    An answer is right if one of its numbers, rounded to two decimals, equals an accepted one, or one of its texts
    contains an accepted text. lmms-eval 0.7 counts every open answer as wrong.
    """

    def score(self, prediction: str, accepted: Sequence[str]) -> float:
        said = open_answers(prediction)
        truths = [value for answer in accepted for value in normal_values(answer)]
        return float(any(_holds(value, truth) for value in said for truth in truths))


def open_answers(response: str) -> list[Value]:
    """The numbers and texts that an answer may mean: what follows words such as "is" or "answer", and all numbers.

    Numbers are rounded to two decimals; texts are in lower case, and a single letter has a space before or after it.
    """
    parts = response.strip().strip(".").lower().split("\n")
    tails = []
    for number, part in enumerate(parts):
        indicators = (*INDICATORS, "=") if number == len(parts) - 1 else INDICATORS
        found = [part.split(indicator)[-1].strip() for indicator in indicators if indicator in part]
        if found and (shortest := min(found, key=len)) not in LONE:
            tails.append(shortest)
    if not tails:
        tails = [response.strip().strip(".").lower()]
    texts = [*tails, *(number for tail in tails for number in numbers_in(tail))]
    return list(dict.fromkeys(value for text in texts for value in normal_values(text)))


def numbers_in(text: str) -> list[str]:
    """Every number in a text: with commas between thousands, scientific, and plain."""
    return [*WITH_COMMAS.findall(text), *SCIENTIFIC.findall(text), *PLAIN.findall(text)]


def normal_values(text: str) -> list[Value]:
    """A text as a number rounded to two decimals if it is one, else in lower case."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        return [f" {text.lower()}", f"{text.lower()} "] if len(text) == 1 else [text.lower()]


def _holds(value: Value, truth: Value) -> bool:
    if isinstance(value, str) and isinstance(truth, str):
        return truth in value
    return not isinstance(value, str) and not isinstance(truth, str) and value == truth

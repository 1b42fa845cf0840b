"""The soft accuracy of VQA: an answer is right if three people gave it."""

import re
from collections.abc import Sequence
from typing import Literal

from recipes.metrics.answers import check_option
from recipes.metrics.contractions import CONTRACTIONS
from recipes.metrics.mean import MeanScore

Normaliser = Literal["evalai", "original"]
MARKS = ';/[]"{}()=+\\_-><@`,?!'
NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
} | {"none": "0"}
ARTICLES = ("a", "an", "the")
COMMA_IN_NUMBER = re.compile(r"\d,\d")
FULL_STOP = re.compile(r"\.(?!\d)")
MOST_STOPS = 32
"""Full stops that are deleted at most: the references pass a flag of `re` where the number of replacements belongs."""


class VqaAccuracy(MeanScore):
    """Soft accuracy (VQA, Antol et al., arXiv 1505.00468, section 4; VQA v2, TextVQA, VizWiz).

    Of n people's answers each is left out once; the score is the mean of min(1, equal answers among the others / 3).
    With ten answers and k equal ones it is 0, 0.3, 0.6, 0.9, and 1 from four on. Predictions and answers are normalised
    first, also if all answers are the same: the original code compares raw texts then, and gives "Blue" 0 against ten
    times "blue".

    Args:
        normaliser: `evalai`: TextVQA, VizWiz, and answers that are sent to a server; `original`: VQA v2's validation.

    Raises:
        ValueError: if the normaliser is unknown.
    """

    def __init__(self, normaliser: Normaliser = "evalai") -> None:
        super().__init__()
        check_option("normaliser", normaliser, Normaliser)
        self.normaliser = normaliser

    def score(self, prediction: str, accepted: Sequence[str]) -> float:
        clean = vqa_normalised if self.normaliser == "original" else evalai_normalised
        said = clean(prediction)
        return soft_accuracy([clean(answer) == said for answer in accepted])


def soft_accuracy(equal: Sequence[bool]) -> float:
    """The soft accuracy of an answer, from whether it equals each person's answer."""
    number = sum(equal)
    return sum(min(1.0, (number - each) / 3) for each in equal) / len(equal)


def vqa_normalised(text: str) -> str:
    """A text as VQA's evaluation compares it (GT-Vision-Lab/VQA, vqaEval.py): punctuation, number words, articles."""
    text = text.replace("\n", " ").replace("\t", " ").strip()
    in_number = COMMA_IN_NUMBER.search(text) is not None
    clean = text
    for mark in MARKS:
        alone = f"{mark} " in text or f" {mark}" in text
        clean = clean.replace(mark, "" if alone or in_number else " ")
    clean = FULL_STOP.sub("", clean, count=MOST_STOPS)
    words = [NUMBERS.get(word, word) for word in clean.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def evalai_normalised(text: str) -> str:
    """A text as EvalAI's server and TextVQA compare it: commas, question marks and "'s" are treated beforehand.

    "it's" becomes "it 's" (facebookresearch/mmf, m4c_evaluators.py).
    """
    return vqa_normalised(text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip())

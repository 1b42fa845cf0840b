"""OCRBench: the reference is contained in the answer; and the answers of OCRBench v2."""

import re
from collections.abc import Sequence
from math import isnan
from typing import Literal

from recipes.metrics.answers import check_answers, check_lengths, check_option, relative_distance
from recipes.metrics.mean import Mean

FORMULAS = "HME100k"
"""The data set whose references are formulas: case counts, spaces do not."""
FULL_WIDTH = str.maketrans({code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " "})
SHORT, SHORT_CHINESE = 5, 4
"""OCRBench v2: references of fewer words (Chinese: parts between commas) must be contained, longer ones be similar."""
LEAST = 0.5

V2Kind = Literal["vqa", "vqa_cn", "case_sensitive", "formula", "counting", "counting_exact"]


class OcrBench(Mean):
    """Share of answers that contain a reference (OCRBench, Liu et al., arXiv 2305.07895); a thousand times it, the sum.

    Args:
        fold_width: read full-width ASCII as ASCII, as lmms-eval does after 0.7.2.
        strict_reference: count every answer, even an empty one, as right if a reference is empty, as the published code
            does; otherwise an empty reference counts only against an empty answer.
    """

    def __init__(self, fold_width: bool = False, strict_reference: bool = False) -> None:
        super().__init__()
        self.fold_width, self.strict_reference = fold_width, strict_reference

    def update(
        self, predictions: Sequence[str | None], references: Sequence[Sequence[str]], datasets: Sequence[str]
    ) -> None:
        """Add predictions (None: missing), each with its references and the name of the data set it comes from.

        Raises:
            ValueError: if the lengths differ, or a question has no list of references.
        """
        check_answers(predictions, references)
        check_lengths(predictions=predictions, datasets=datasets)
        for prediction, accepted, dataset in zip(predictions, references, datasets, strict=True):
            self.add(None if prediction is None else float(self._right(prediction, accepted, dataset)))

    def _right(self, prediction: str, accepted: Sequence[str], dataset: str) -> bool:
        said = self._folded(prediction)
        for reference in map(self._folded, accepted):
            if not reference and not self.strict_reference:
                if not said.strip():
                    return True
            elif contains(said, reference, formula=dataset == FORMULAS):
                return True
        return False

    def _folded(self, text: str) -> str:
        return text.translate(FULL_WIDTH) if self.fold_width else text


def contains(prediction: str, reference: str, *, formula: bool = False) -> bool:
    """Whether an answer contains a reference, without regard to case and line ends; in formulas, to spaces only."""
    if formula:
        return _without_spaces(reference) in _without_spaces(prediction)
    return reference.lower().strip().replace("\n", " ") in prediction.lower().strip().replace("\n", " ")


def _without_spaces(text: str) -> str:
    return text.strip().replace("\n", " ").replace(" ", "")


class OcrBenchV2(Mean):
    """Scores of answers in OCRBench v2 (Fu et al., arXiv 2501.00321) that need no parsing of tables or HTML.

    Args:
        kind: `vqa`, `vqa_cn` (Chinese), `case_sensitive`, `formula`, `counting` or `counting_exact`, see `v2_score`.

    Raises:
        ValueError: if the kind is unknown.
    """

    def __init__(self, kind: V2Kind = "vqa") -> None:
        super().__init__()
        check_option("kind", kind, V2Kind)
        self.kind = kind

    def update(self, predictions: Sequence[str | None], references: Sequence[Sequence[str]]) -> None:
        """Add predictions (None: missing), each with its references.

        Raises:
            ValueError: if the lengths differ, or a question has no list of references.
        """
        check_answers(predictions, references)
        for prediction, accepted in zip(predictions, references, strict=True):
            self.add(None if prediction is None else v2_score(prediction, accepted, self.kind))


def v2_score(prediction: str, references: Sequence[str], kind: V2Kind = "vqa") -> float:
    """The score of an answer, the best over its references, 0 to 1 (its eval_scripts/vqa_metric.py).

    Short references must be contained, longer ones score 1 - edits / longer length if that is at least 0.5. `vqa` and
    `vqa_cn` ignore case. `counting` compares the first number, and scores 1 - |difference| / reference if that is above
    0.5; `counting_exact` wants the reference to be contained.
    """
    if kind in ("counting", "counting_exact"):
        return max((_count_score(prediction, each, exact=kind == "counting_exact") for each in references), default=0.0)
    if kind == "formula":
        return float(any(_without_spaces(each) in _without_spaces(prediction) for each in references))
    return max((_text_score(prediction, each, kind) for each in references), default=0.0)


def _text_score(prediction: str, reference: str, kind: V2Kind) -> float:
    said, true = prediction.strip().replace("\n", " "), reference.strip().replace("\n", " ")
    if kind != "case_sensitive":
        said, true = said.lower(), true.lower()
    if kind == "vqa_cn":
        said, true = said.replace(" ", ""), true.replace(" ", "")
    short = len(true.split(",")) < SHORT_CHINESE if kind == "vqa_cn" else len(true.split()) < SHORT
    if short:
        return float(true in said)
    alike = 1 - relative_distance(said, true)
    return alike if alike >= LEAST else 0.0


def _count_score(prediction: str, reference: str, *, exact: bool) -> float:
    if exact:
        return float(reference.lower().strip() in prediction)
    true = float(reference)
    found = re.search(r"\d+", prediction)
    if found is None or true == 0 or isnan(true):
        return 0.0
    alike = 1 - abs(float(found[0]) - true) / true
    return alike if alike > LEAST else 0.0

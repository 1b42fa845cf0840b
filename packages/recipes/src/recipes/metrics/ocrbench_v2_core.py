"""The groups of OCRBench v2 whose answers are short texts."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_answers, check_lengths
from recipes.metrics.mean import add_counts
from recipes.metrics.ocrbench import V2Kind, v2_score

GROUPS = {
    "en/mathematical_calculation": ("math QA en", "text counting en"),
    "en/visual_text_understanding": ("document classification en", "cognition VQA en", "diagram QA en"),
    "en/knowledge_reasoning": ("reasoning VQA en", "science QA en", "APP agent en", "ASCII art classification en"),
    "cn/visual_text_understanding": ("cognition VQA cn",),
}
"""Groups all of whose types are scored here, with their types (its get_score.py). The other nine need tables, spotting,
positions or page texts: they are left to the authors' scripts."""
KINDS: dict[str, V2Kind] = {
    "case sensitive": "case_sensitive",
    "regression": "counting",
    "exact match": "counting_exact",
}


class OcrBenchV2Core(Metric):
    """Four of OCRBench v2's thirteen groups (Fu et al., arXiv 2501.00321): a group is the mean of its questions.

    Attributes:
        missing: number of missing answers, which score 0.
    """

    higher_is_better = True
    full_state_update = False
    totals: Tensor
    questions: Tensor
    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(len(GROUPS), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("questions", torch.zeros(len(GROUPS), dtype=torch.long), dist_reduce_fx="sum")
        add_counts(self, "missing")

    def update(
        self,
        predictions: Sequence[str | None],
        references: Sequence[Sequence[str]],
        types: Sequence[str],
        rules: Sequence[str],
    ) -> None:
        """Add predictions.

        Args:
            predictions: the answers; None: missing.
            references: their references.
            types: the questions' types, among those of `GROUPS`.
            rules: the questions' `eval`; empty: they have none.

        Raises:
            ValueError: if the lengths differ, a question has no list of references, or its type is unknown.
        """
        check_answers(predictions, references)
        check_lengths(predictions=predictions, types=types, rules=rules)
        groups = {kind: place for place, kinds in enumerate(GROUPS.values()) for kind in kinds}
        for prediction, accepted, kind, rule in zip(predictions, references, types, rules, strict=True):
            if kind not in groups:
                raise ValueError(f"{kind!r} is not one of the types {', '.join(groups)}")
            self.missing = self.missing + (prediction is None)
            self.totals[groups[kind]] += 0.0 if prediction is None else core_score(prediction, accepted, kind, rule)
            self.questions[groups[kind]] += 1

    def compute(self) -> dict[str, Tensor]:
        """`core`, the mean of the groups, and every group that occurred, 0 to 1; it is not OCRBench v2's score."""
        means = self.totals / self.questions
        found = {name: mean for name, mean, number in zip(GROUPS, means, self.questions, strict=True) if number}
        core = {"core": torch.stack(list(found.values())).mean()}
        return {name: mean.float() for name, mean in (core | found).items()}


def core_score(prediction: str, references: Sequence[str], kind: str, rule: str) -> float:
    """The score of an answer, by its type and its `eval`."""
    if rule == "multiple choice":
        return float("".join(each for each in prediction if each.isalpha()) == references[0])
    return v2_score(prediction, references, KINDS.get(rule, "vqa_cn" if kind.endswith(" cn") else "vqa"))

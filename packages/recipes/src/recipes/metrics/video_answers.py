"""ActivityNet-QA: short answers about videos, by type of question."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_lengths
from recipes.metrics.mean import add_counts

TYPES = ("motion", "spatial", "temporal", "yes_no", "color", "object", "location", "number", "other")
FREE = TYPES[3:]


class ActivityNetQa(Metric):
    """Accuracy over all questions, over the free ones, and of every type (ActivityNet-QA, Yu et al., arXiv 1906.02467).

    Predictions and answers are compared in lower case, without spaces around them and one full stop at the end; the
    published code compares them as they are.

    Attributes:
        missing: number of missing answers, which are wrong.
    """

    higher_is_better = True
    full_state_update = False
    right: Tensor
    questions: Tensor
    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("right", "questions"):
            self.add_state(name, torch.zeros(len(TYPES), dtype=torch.long), dist_reduce_fx="sum")
        add_counts(self, "missing")

    def update(self, predictions: Sequence[str | None], answers: Sequence[str], types: Sequence[int]) -> None:
        """Add predictions (None: missing) with their answers and types, indices of `TYPES`.

        Raises:
            ValueError: if the lengths differ, or a type is unknown.
        """
        check_lengths(predictions=predictions, answers=answers, types=types)
        for prediction, answer, kind in zip(predictions, answers, types, strict=True):
            if not 0 <= kind < len(TYPES):
                raise ValueError(f"{kind} is not a type of question, expected 0 to {len(TYPES) - 1}")
            self.right[kind] += prediction is not None and _clean(prediction) == _clean(answer)
            self.questions[kind] += 1
            self.missing = self.missing + (prediction is None)

    def compute(self) -> dict[str, Tensor]:
        """`accuracy`, `free` (all but motion, spatial and temporal), and the accuracy of every type that occurred."""
        right, number = self.right.double(), self.questions.double()
        first = TYPES.index(FREE[0])
        found = {"accuracy": right.sum() / number.sum()}
        if number[first:].sum():
            found["free"] = right[first:].sum() / number[first:].sum()
        found |= {name: right[kind] / number[kind] for kind, name in enumerate(TYPES) if number[kind]}
        return {name: score.float() for name, score in found.items()}


def _clean(text: str) -> str:
    return text.lower().strip().removesuffix(".").strip()

"""The mean of a score over answers: the base of most metrics."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_answers


def add_counts(metric: Metric, *names: str) -> None:
    """Add whole numbers to the state of a metric, summed over ranks."""
    for name in names:
        metric.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")


class Mean(Metric):
    """The mean of scores that are added one by one; a missing answer scores 0.

    Attributes:
        total: sum of the scores.
        answers: number of answers, including missing ones.
        missing: number of missing answers.
    """

    higher_is_better = True
    full_state_update = False
    total: Tensor
    answers: Tensor
    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        add_counts(self, "answers", "missing")

    def add(self, score: float | None) -> None:
        """Add the score of an answer; None: the answer is missing."""
        self.total = self.total + (score or 0.0)
        self.answers = self.answers + 1
        self.missing = self.missing + (score is None)

    def compute(self) -> Tensor:
        """The mean score, 0 to 1."""
        return (self.total / self.answers).float()


class MeanScore(Mean, ABC):
    """The mean score of answers, each compared with its accepted ones. A missing answer (None) scores 0."""

    @abstractmethod
    def score(self, prediction: str, accepted: Sequence[str]) -> float:
        """The score of an answer, given its accepted answers (at least one)."""

    def update(self, predictions: Sequence[str | None], references: Sequence[Sequence[str]]) -> None:
        """Add predictions, each with its accepted answers.

        Raises:
            ValueError: if there are not as many references as predictions, or one has no accepted answer.
        """
        check_answers(predictions, references)
        for prediction, accepted in zip(predictions, references, strict=True):
            self.add(None if prediction is None else self.score(prediction, accepted))


class MeanScores(Metric, ABC):
    """The means of several scores of answers, each compared with its references. A missing answer (None) scores 0.

    Attributes:
        names: of the scores, in their order.
        totals: sum of each score.
        answers: number of answers, including missing ones.
        missing: number of missing answers.
    """

    higher_is_better = True
    full_state_update = False
    names: ClassVar[tuple[str, ...]]
    totals: Tensor
    answers: Tensor
    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("totals", torch.zeros(len(self.names), dtype=torch.float64), dist_reduce_fx="sum")
        add_counts(self, "answers", "missing")

    @abstractmethod
    def scores(self, prediction: str, references: Sequence[str]) -> Sequence[float]:
        """The scores of an answer, given its references (at least one)."""

    def update(self, predictions: Sequence[str | None], references: Sequence[Sequence[str]]) -> None:
        """Add predictions (None: missing), each with its references.

        Raises:
            ValueError: if there are not as many references as predictions, or one has none.
        """
        check_answers(predictions, references)
        for prediction, accepted in zip(predictions, references, strict=True):
            if prediction is not None:
                self.totals = self.totals + self.totals.new_tensor(self.scores(prediction, accepted))
            self.missing = self.missing + (prediction is None)
        self.answers = self.answers + len(predictions)

    def compute(self) -> dict[str, Tensor]:
        """The mean of every score, 0 to 1."""
        return dict(zip(self.names, (self.totals / self.answers).float(), strict=True))

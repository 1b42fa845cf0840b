"""Answers that hold a record: read, and scored as fields and as trees."""

from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_lengths
from recipes.metrics.key_information import Record, field_counts, field_f1, read_record, tree_accuracy
from recipes.metrics.mean import add_counts


class KeyInformation(Metric):
    """Key information in answers (receipts, SROIE, CORD): `FieldF1`, and, if zss is installed, `TreeAccuracy`.

    An answer is read by `read_record`; one that holds no record counts as an empty one.

    Attributes:
        unparsed: number of answers without a record.
        missing: number of missing answers.
    """

    higher_is_better = True
    full_state_update = False
    right: Tensor
    wrong: Tensor
    tree: Tensor
    answers: Tensor
    unparsed: Tensor
    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("tree", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        add_counts(self, "right", "wrong", "answers", "unparsed", "missing")

    def update(self, predictions: Sequence[str | None], answers: Sequence[Record]) -> None:
        """Add answers (None: missing), each with the true record.

        Raises:
            ValueError: if the lengths differ.
        """
        check_lengths(predictions=predictions, answers=answers)
        trees = find_spec("zss") is not None
        for prediction, answer in zip(predictions, answers, strict=True):
            record = None if prediction is None else read_record(prediction)
            self.missing = self.missing + (prediction is None)
            self.unparsed = self.unparsed + (prediction is not None and record is None)
            right, wrong = field_counts(record or {}, answer)
            self.right, self.wrong = self.right + right, self.wrong + wrong
            self.tree = self.tree + (tree_accuracy(record or {}, answer) if trees else torch.nan)
        self.answers = self.answers + len(predictions)

    def compute(self) -> dict[str, Tensor]:
        """`f1` and `tree_accuracy`, 0 to 1; without zss only the first."""
        found = {"f1": field_f1(self.right, self.wrong)}
        return found if self.tree.isnan() else found | {"tree_accuracy": (self.tree / self.answers).float()}

"""POPE: whether an object is in a picture."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_lengths
from recipes.metrics.mean import add_counts


def pope_says_yes(answer: str) -> bool:
    """Whether an answer counts as yes in POPE (AoiDragon/POPE, evaluate.py): all but no, No and not as a word of the
    first sentence. An empty answer counts as yes there."""
    words = answer.split(".")[0].replace(",", "").split(" ")
    return not {"No", "no", "not"} & set(words)


class Pope(Metric):
    """Accuracy, precision, recall, F1 and share of yes of answers about objects (POPE, Li et al., arXiv 2305.10355).

    Args:
        strict_reference: count an empty answer as yes, as the published code does; otherwise it is wrong.

    Attributes:
        missing: number of missing answers, which are wrong.
    """

    full_state_update = False
    counts: Tensor
    wrong: Tensor
    missing: Tensor

    def __init__(self, strict_reference: bool = False) -> None:
        super().__init__()
        self.strict_reference = strict_reference
        # Rows: the answer is no or yes; columns: the truth is no or yes.
        self.add_state("counts", torch.zeros(2, 2, dtype=torch.long), dist_reduce_fx="sum")
        # Neither yes nor no: missing or empty, by their truth.
        self.add_state("wrong", torch.zeros(2, dtype=torch.long), dist_reduce_fx="sum")
        add_counts(self, "missing")

    def update(self, predictions: Sequence[str | None], answers: Sequence[str]) -> None:
        """Add predictions (None: missing) with their truth, `yes` or `no`.

        Raises:
            ValueError: if the lengths differ, or a truth is neither.
        """
        check_lengths(predictions=predictions, answers=answers)
        for prediction, answer in zip(predictions, answers, strict=True):
            if answer not in ("yes", "no"):
                raise ValueError(f"the truth is {answer!r}, expected yes or no")
            true = int(answer == "yes")
            said = self._said(prediction)
            if said is None:
                self.wrong[true] += 1
                self.missing = self.missing + (prediction is None)
            else:
                self.counts[int(said), true] += 1

    def single(self, predictions: Sequence[str | None], answers: Sequence[str]) -> list[float]:
        """1 for every right answer, 0 for the others."""
        pairs = zip(predictions, answers, strict=True)
        return [float(self._said(prediction) == (answer == "yes")) for prediction, answer in pairs]

    def _said(self, prediction: str | None) -> bool | None:
        """Whether an answer is yes; None: it is neither yes nor no."""
        if prediction is None or (not prediction.strip() and not self.strict_reference):
            return None
        return pope_says_yes(prediction)

    def compute(self) -> dict[str, Tensor]:
        """`accuracy`, `precision`, `recall`, `f1` and `yes_ratio` (the share of yes among the answers); 0 for 0 / 0."""
        return pope_scores(self.counts, self.wrong)


class PopeFiles(Metric):
    """POPE's scores of each of its files (random, popular, adversarial), and their means, as in LLaVA-1.5's table.

    Args:
        files: names of the files; a score is that of a file, as in `random/f1`, or the mean of those that occurred.
        strict_reference: as for `Pope`.

    Attributes:
        missing: number of missing answers, which are wrong.
    """

    full_state_update = False
    counts: Tensor
    wrong: Tensor
    missing: Tensor

    def __init__(
        self, files: Sequence[str] = ("random", "popular", "adversarial"), *, strict_reference: bool = False
    ) -> None:
        super().__init__()
        self.files, self.strict_reference = tuple(files), strict_reference
        self.add_state("counts", torch.zeros(len(files), 2, 2, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("wrong", torch.zeros(len(files), 2, dtype=torch.long), dist_reduce_fx="sum")
        add_counts(self, "missing")

    def update(self, predictions: Sequence[str | None], answers: Sequence[str], files: Sequence[str]) -> None:
        """Add predictions (None: missing) with their truth, `yes` or `no`, and the file of the question.

        Raises:
            ValueError: if the lengths differ, a truth is neither, or a file is unknown.
        """
        check_lengths(predictions=predictions, answers=answers, files=files)
        for file in dict.fromkeys(files):
            if file not in self.files:
                raise ValueError(f"{file!r} is not a file of POPE: {', '.join(self.files)}")
            rows = [row for row, each in enumerate(files) if each == file]
            one = Pope(self.strict_reference).to(self.device)
            one.update([predictions[row] for row in rows], [answers[row] for row in rows])
            place = self.files.index(file)
            self.counts[place] += one.counts
            self.wrong[place] += one.wrong
            self.missing = self.missing + one.missing

    def single(self, predictions: Sequence[str | None], answers: Sequence[str], files: Sequence[str]) -> list[float]:
        """1 for every right answer, 0 for the others, whatever its file."""
        return Pope(self.strict_reference).single(predictions, answers)

    def compute(self) -> dict[str, Tensor]:
        """The means of `f1` and the other scores of `Pope`, then those of every file."""
        scores = {
            file: pope_scores(counts, wrong)
            for file, counts, wrong in zip(self.files, self.counts, self.wrong, strict=True)
            if counts.sum() + wrong.sum()
        }
        names = ("f1", "accuracy", "precision", "recall", "yes_ratio")
        means = {name: torch.stack([each[name] for each in scores.values()]).mean() for name in names}
        return means | {f"{file}/{name}": scores[file][name] for file in scores for name in names}


def pope_scores(counts: Tensor, wrong: Tensor) -> dict[str, Tensor]:
    """The scores of `Pope`.

    Args:
        counts: [2, 2], answers that are no or yes, by a truth that is no or yes.
        wrong: [2], answers that are neither, by their truth.
    """
    (tn, fn), (fp, tp) = counts.double()
    total, missed = counts.sum() + wrong.sum(), fn + wrong[1]
    shares = {
        "accuracy": (tp + tn, total),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + missed),
        "f1": (2 * tp, 2 * tp + fp + missed),
        "yes_ratio": (tp + fp, total),
    }
    return {name: (part / whole if whole else part * 0).float() for name, (part, whole) in shares.items()}

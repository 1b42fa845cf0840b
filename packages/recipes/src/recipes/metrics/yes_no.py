"""Questions to be answered by yes or no: POPE and MME."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from recipes.metrics.answers import check_lengths, check_option
from recipes.metrics.kept_rows import KeptRows
from recipes.metrics.mean import add_counts

MmeLabels = Literal["original", "lmms_eval"]
PERCEPTION = ("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR")
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")


def pope_says_yes(answer: str) -> bool:
    """Whether an answer counts as yes in POPE (AoiDragon/POPE, evaluate.py): all but no, No and not as a word of the
    first sentence. An empty answer counts as yes there."""
    words = answer.split(".")[0].replace(",", "").split(" ")
    return not {"No", "no", "not"} & set(words)


def mme_label(answer: str, labels: MmeLabels = "original") -> str:
    """`yes`, `no` or `other`, by the beginning of an answer, as in MME's evaluation (its calculation.py).

    Args:
        answer: the model's.
        labels: `lmms_eval`: without full stops, and a single y or n is enough.
    """
    text = answer.lower().strip()
    if labels == "lmms_eval":
        text = text.replace(".", "")
        if text in ("y", "n"):
            return "yes" if text == "y" else "no"
    if text in ("yes", "no"):
        return text
    return next((label for label in ("yes", "no") if label in text[:4]), "other")


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
            if prediction is None or (not prediction.strip() and not self.strict_reference):
                self.wrong[true] += 1
                self.missing = self.missing + (prediction is None)
            else:
                self.counts[int(pope_says_yes(prediction)), true] += 1

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


class Mme(KeptRows):
    """MME's scores (Fu et al., arXiv 2306.13394, section 2.2): two questions about each picture.

    A subtask scores 100 times the share of right answers plus 100 times the share of pictures with both right.

    Args:
        labels: rule for the labels of answers, see `mme_label`.

    Attributes:
        unparsed: number of answers that are neither yes nor no, and wrong.
        missing: number of missing answers, which are wrong.

    Raises:
        ValueError: if the rule is unknown.
    """

    higher_is_better = True
    full_state_update = False
    rows: list[Tensor]
    unparsed: Tensor
    missing: Tensor

    def __init__(self, labels: MmeLabels = "original") -> None:
        super().__init__()
        check_option("labels", labels, MmeLabels)
        self.labels = labels
        self.add_rows("rows", torch.empty((0, 3), dtype=torch.long))
        add_counts(self, "unparsed", "missing")

    def update(
        self,
        predictions: Sequence[str | None],
        answers: Sequence[str],
        subtasks: Sequence[str],
        pictures: Sequence[str],
    ) -> None:
        """Add predictions.

        Args:
            predictions: the answers; None: missing.
            answers: `Yes` or `No`, in any case.
            subtasks: names among `PERCEPTION` and `COGNITION`.
            pictures: names of the pictures, of which different subtasks may have the same.

        Raises:
            ValueError: if the lengths differ, or a subtask is unknown.
        """
        check_lengths(predictions=predictions, answers=answers, subtasks=subtasks, pictures=pictures)
        names, found = (*PERCEPTION, *COGNITION), []
        for prediction, answer, subtask, picture in zip(predictions, answers, subtasks, pictures, strict=True):
            if subtask not in names:
                raise ValueError(f"{subtask!r} is not a subtask of MME: {', '.join(names)}")
            label = "missing" if prediction is None else mme_label(prediction, self.labels)
            self.missing = self.missing + (label == "missing")
            self.unparsed = self.unparsed + (label == "other")
            found.append([names.index(subtask), _number(picture), int(label == answer.lower())])
        if found:
            self.rows.append(torch.tensor(found, dtype=torch.long, device=self.device))

    def compute(self) -> dict[str, Tensor]:
        """Each subtask's score (0 to 200), and the sums `perception` and `cognition`.

        Raises:
            ValueError: if a picture does not have exactly two questions.
        """
        names, pairs = (*PERCEPTION, *COGNITION), dict[int, dict[int, list[int]]]()
        rows = dim_zero_cat(self.rows)
        for subtask, picture, right in rows.tolist():
            pairs.setdefault(subtask, {}).setdefault(picture, []).append(right)
        scores = {names[subtask]: _score(names[subtask], of_picture) for subtask, of_picture in pairs.items()}
        sums = {"perception": PERCEPTION, "cognition": COGNITION}
        for name, parts in sums.items():
            scores[name] = sum(scores.get(part, 0.0) for part in parts)
        return {name: torch.tensor(score, dtype=torch.float32) for name, score in scores.items()}


def _score(subtask: str, pairs: Mapping[int, Sequence[int]]) -> float:
    if odd := next((len(right) for right in pairs.values() if len(right) != 2), None):
        raise ValueError(f"{subtask}: a picture has {odd} questions, each must have two")
    answers = [right for pair in pairs.values() for right in pair]
    return 100 * sum(answers) / len(answers) + 100 * sum(all(pair) for pair in pairs.values()) / len(pairs)


def _number(name: str) -> int:
    """A number for a name, the same on all ranks; strings cannot be gathered."""
    return int.from_bytes(blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "big", signed=True)

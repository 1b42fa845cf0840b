"""MME: two questions about each picture, to be answered by yes or no."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Literal

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from recipes.metrics.answers import check_lengths, check_option
from recipes.metrics.kept_rows import KeptRows
from recipes.metrics.mean import add_counts

MmeLabels = Literal["original", "lmms_eval"]
PERCEPTION = ("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR")
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")


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
            label = self._label(prediction)
            self.missing = self.missing + (label == "missing")
            self.unparsed = self.unparsed + (label == "other")
            found.append([names.index(subtask), _number(picture), int(label == answer.lower())])
        if found:
            self.rows.append(torch.tensor(found, dtype=torch.long, device=self.device))

    def single(
        self,
        predictions: Sequence[str | None],
        answers: Sequence[str],
        subtasks: Sequence[str],
        pictures: Sequence[str],
    ) -> list[float]:
        """1 for every right answer, 0 for the others, whatever the other one about its picture is."""
        return [float(self._label(said) == true.lower()) for said, true in zip(predictions, answers, strict=True)]

    def _label(self, prediction: str | None) -> str:
        return "missing" if prediction is None else mme_label(prediction, self.labels)

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

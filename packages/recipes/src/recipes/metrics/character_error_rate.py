"""Character error rate."""

from collections.abc import Sequence

from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_answers, distance
from recipes.metrics.mean import add_counts


class CharacterErrorRate(Metric):
    """Edit distance over all answers, divided by the characters of their references; may exceed 1.

    Every character counts, including case and white space. Of several accepted answers, the nearest is used. A missing
    answer counts as an empty one.

    Attributes:
        missing: number of missing answers.
    """

    higher_is_better = False
    full_state_update = False
    edits: Tensor
    characters: Tensor
    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        add_counts(self, "edits", "characters", "missing")

    def update(self, predictions: Sequence[str | None], references: Sequence[Sequence[str]]) -> None:
        """Add predictions (None: missing), each with its accepted answers.

        Raises:
            ValueError: if there are not as many references as predictions, or one has no accepted answer.
        """
        check_answers(predictions, references)
        for prediction, accepted in zip(predictions, references, strict=True):
            edits, length = min((distance(prediction or "", answer), len(answer)) for answer in accepted)
            self.edits = self.edits + edits
            self.characters = self.characters + length
            self.missing = self.missing + (prediction is None)

    def compute(self) -> Tensor:
        """Edits per character of the references."""
        return self.edits / self.characters

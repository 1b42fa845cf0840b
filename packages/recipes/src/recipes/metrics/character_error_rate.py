"""Character error rate."""

from collections.abc import Sequence

from torch import Tensor
from torchmetrics import Metric

from recipes.metrics.answers import check_answers, distance
from recipes.metrics.mean import add_counts


class CharacterErrorRate(Metric):
    """Edit distance over all answers, divided by the characters of their references; may exceed 1.

    Every character counts, including case and white space. Of several accepted answers, the nearest is used.
    """

    higher_is_better = False
    full_state_update = False
    edits: Tensor
    characters: Tensor

    def __init__(self) -> None:
        super().__init__()
        add_counts(self, "edits", "characters")

    def update(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Add predictions, each with its accepted answers."""
        check_answers(predictions, references)
        for prediction, accepted in zip(predictions, references, strict=True):
            edits, length = min((distance(prediction, answer), len(answer)) for answer in accepted)
            self.edits = self.edits + edits
            self.characters = self.characters + length

    def compute(self) -> Tensor:
        """Edits per character of the references."""
        return self.edits / self.characters

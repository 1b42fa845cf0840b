"""Questions whose answers are judged elsewhere."""

from collections.abc import Sequence

from recipes.metrics.mean import Mean


class Answered(Mean):
    """Share of questions with an answer that is not empty, where only a judge can say which are right (MM-Vet)."""

    def update(self, predictions: Sequence[str | None]) -> None:
        """Add answers; None: missing."""
        for prediction in predictions:
            self.add(None if prediction is None else float(bool(prediction.strip())))

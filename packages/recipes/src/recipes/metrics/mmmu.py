"""MMMU: multiple choice and open questions in one score."""

from collections.abc import Sequence

from torch import Tensor

from recipes.metrics.answers import check_answers, check_lengths
from recipes.metrics.choice_parsers import mmmu
from recipes.metrics.mean import Mean, add_counts
from recipes.metrics.mmmu_open import MmmuOpen


class Mmmu(Mean):
    """Share of all MMMU questions answered right: `Choice` for those with options, `MmmuOpen` for the others.

    Attributes:
        unparsed: number of answers that chose no letter; missing ones are counted in `missing`.
    """

    unparsed: Tensor

    def __init__(self) -> None:
        super().__init__()
        add_counts(self, "unparsed")
        self._open = MmmuOpen()

    def update(
        self,
        predictions: Sequence[str | None],
        references: Sequence[Sequence[str]],
        options: Sequence[Sequence[str]],
    ) -> None:
        """Add predictions.

        Args:
            predictions: the answers; None: missing.
            references: the right letter of a question with options, else the accepted answers.
            options: texts of each question's options, in the order of their letters; none: it is open.

        Raises:
            ValueError: if the lengths differ, or a question has no accepted answer.
        """
        check_answers(predictions, references)
        check_lengths(predictions=predictions, options=options)
        for prediction, accepted, texts in zip(predictions, references, options, strict=True):
            if prediction is None:
                self.add(None)
            elif texts:
                chosen = mmmu(prediction, texts)
                self.unparsed = self.unparsed + (chosen is None)
                self.add(float(chosen in accepted))
            else:
                self.add(self._open.score(prediction, accepted))

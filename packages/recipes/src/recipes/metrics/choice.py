"""Multiple choice, once or with the options rotated."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from recipes.metrics.answers import check_lengths, check_option
from recipes.metrics.choice_parsers import PARSERS, ChoiceParser, letters_of
from recipes.metrics.kept_rows import KeptRows
from recipes.metrics.mean import Mean, add_counts

ROTATION = 1_000_000
"""MMBench: rows whose index differs by a multiple of this are one question with its options rotated."""


class Choice(Mean):
    """Share of multiple-choice questions answered with the right letter. An answer that chooses none is wrong.

    Args:
        parser: how the letter is found, see `choice_parsers`: `mmmu` (also NExT-QA and EgoSchema), `letter`
            (SEED-Bench), `strict` (SEED-Bench in LLaVA-1.5's table), `scienceqa`, `egoschema` (lmms-eval's), or
            `vlmevalkit` (MMBench).

    Attributes:
        unparsed: number of answers that chose no letter; missing ones are counted in `missing`.

    Raises:
        ValueError: if the parser is unknown.
    """

    unparsed: Tensor

    def __init__(self, parser: ChoiceParser = "mmmu") -> None:
        super().__init__()
        check_option("parser", parser, ChoiceParser)
        self.parser = parser
        add_counts(self, "unparsed")

    def update(
        self, predictions: Sequence[str | None], answers: Sequence[str], options: Sequence[Sequence[str]]
    ) -> None:
        """Add predictions.

        Args:
            predictions: the answers; None: missing.
            answers: the right letters.
            options: texts of each question's options, in the order of their letters.

        Raises:
            ValueError: if the lengths differ, or a right letter is not among the question's.
        """
        check_lengths(predictions=predictions, answers=answers, options=options)
        for prediction, answer, texts in zip(predictions, answers, options, strict=True):
            chosen = _chosen(self.parser, prediction, answer, texts)
            self.add(None if prediction is None else float(chosen == answer))
            self.unparsed = self.unparsed + (prediction is not None and chosen is None)


class CircularChoice(KeptRows):
    """Multiple choice with rotated options: a question is right if every rotation is (MMBench, arXiv 2307.06281).

    Args:
        parser: as for `Choice`; MMBench's figures are made with `vlmevalkit`.

    Attributes:
        unparsed: number of rows whose answer chose no letter.
        missing: number of rows without an answer.

    Raises:
        ValueError: if the parser is unknown.
    """

    higher_is_better = True
    full_state_update = False
    rows: list[Tensor]
    unparsed: Tensor
    missing: Tensor

    def __init__(self, parser: ChoiceParser = "vlmevalkit") -> None:
        super().__init__()
        check_option("parser", parser, ChoiceParser)
        self.parser = parser
        self.add_rows("rows", torch.empty((0, 2), dtype=torch.long))
        add_counts(self, "unparsed", "missing")

    def update(
        self,
        predictions: Sequence[str | None],
        answers: Sequence[str],
        options: Sequence[Sequence[str]],
        indices: Sequence[int],
    ) -> None:
        """Add rows.

        Args:
            predictions: the answers; None: missing.
            answers: the right letters.
            options: texts of each row's options, in the order of their letters.
            indices: the rows' indices; those of a question's rotations differ by multiples of a million.

        Raises:
            ValueError: if the lengths differ, or a right letter is not among the row's.
        """
        check_lengths(predictions=predictions, answers=answers, options=options, indices=indices)
        found = []
        for prediction, answer, texts, index in zip(predictions, answers, options, indices, strict=True):
            chosen = _chosen(self.parser, prediction, answer, texts)
            found.append([index, int(chosen == answer)])
            self.missing = self.missing + (prediction is None)
            self.unparsed = self.unparsed + (prediction is not None and chosen is None)
        if found:
            self.rows.append(torch.tensor(found, dtype=torch.long, device=self.device))

    def compute(self) -> dict[str, Tensor]:
        """`circular`: the share of questions with every rotation right; `vanilla`: of those as they are, without."""
        rows = dim_zero_cat(self.rows)
        hits: dict[int, bool] = {}
        for index, right in rows.tolist():
            group = index % ROTATION
            hits[group] = hits.get(group, True) and bool(right)
        base = rows[rows[:, 0] < ROTATION, 1]
        circular = torch.tensor(sum(hits.values()) / len(hits), dtype=torch.float32)
        return {"circular": circular, "vanilla": base.double().mean().float()}


def _chosen(parser: ChoiceParser, prediction: str | None, answer: str, options: Sequence[str]) -> str | None:
    if answer not in letters_of(options):
        raise ValueError(f"the right answer is {answer!r}, the {len(options)} options are {letters_of(options)}")
    return None if prediction is None else PARSERS[parser](prediction, options)

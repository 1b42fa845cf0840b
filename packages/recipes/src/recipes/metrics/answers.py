"""Functions shared by the metrics of answers."""

from collections.abc import Sequence

from torchmetrics.functional.text import char_error_rate


def check_answers(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuse answers that cannot be compared.

    Raises:
        ValueError: if there are not as many references as predictions, or one has no accepted answer.
    """
    if len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions, {len(references)} references")
    if any(isinstance(accepted, str) or not accepted for accepted in references):
        raise ValueError("every prediction needs a list of at least one accepted answer")


def normalised(text: str) -> str:
    """The text in lower case with white space collapsed, which is what DocVQA's evaluation compares."""
    return " ".join(text.lower().split())


def distance(first: str, second: str) -> int:
    """Fewest insertions, deletions and replacements of characters that turn one text into the other (Levenshtein).

    Exact for texts of any length, in time proportional to the product of the lengths: seconds for two of 4000
    characters. torchmetrics' `edit_distance` is faster but searches only near the diagonal, and counts too many edits
    if a paragraph is missing.
    """
    return round(float(char_error_rate(first, second)) * len(second)) if second else len(first)

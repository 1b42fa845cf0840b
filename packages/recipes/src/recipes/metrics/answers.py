"""Functions shared by the metrics of answers."""

from collections.abc import Sequence
from typing import Any, get_args

from rapidfuzz.distance import Levenshtein


def check_answers(predictions: Sequence[str | None], references: Sequence[Sequence[str]]) -> None:
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

    Exact for texts of any length. torchmetrics' `edit_distance` searches only near the diagonal, and counts too many
    edits if a paragraph is missing.
    """
    return Levenshtein.distance(first, second)


def relative_distance(first: str, second: str) -> float:
    """Edit distance / longer length; 0 for two empty texts."""
    return distance(first, second) / max(len(first), len(second), 1)


def check_lengths(**lists: Sequence[object]) -> None:
    """Refuse lists of different lengths.

    Raises:
        ValueError: naming each one with its length.
    """
    if len({len(each) for each in lists.values()}) > 1:
        raise ValueError(", ".join(f"{len(each)} {name}" for name, each in lists.items()))


def check_option(name: str, value: object, known: Any) -> None:
    """Refuse an argument that is none of the values of a `Literal`.

    Args:
        name: the argument's.
        value: as given.
        known: the `Literal`.

    Raises:
        ValueError: naming the argument and its values.
    """
    if value not in get_args(known):
        raise ValueError(f"{name} must be one of {', '.join(get_args(known))}, not {value!r}")

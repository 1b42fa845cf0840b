"""Drop exchanges from the end of a conversation until it fits."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeVar

from foveal.models.prompts.templates import PLACEHOLDER, Turn

T = TypeVar("T")


class TooLongError(ValueError):
    """A conversation has more tokens than a sequence may have."""


def longest_fitting(turns: Sequence[Turn], encode: Callable[[Sequence[Turn]], T]) -> tuple[T, int]:
    """The longest beginning of a conversation that fits, encoded, and the number of turns that were dropped.

    Args:
        turns: an optional system turn, then user and assistant alternating, to a last answer.
        encode: raises `TooLongError` for turns that do not fit.

    Raises:
        TooLongError: if only the first exchange is left, or the last one that has a picture, and it does not fit.
    """
    try:
        return encode(turns), 0
    except TooLongError:
        most = _droppable(turns)
        if not most:
            raise

    def fits(drop: int) -> bool:
        try:
            encode(turns[: -2 * drop])
        except TooLongError:
            return False
        return True

    # Fewer turns have fewer tokens, so that halving finds the first number that fits: one by one, a conversation of
    # thousands of turns would take hours.
    dropped = 1 + bisect_left(range(1, most), True, key=fits)
    return encode(turns[: -2 * dropped]), 2 * dropped


def _droppable(turns: Sequence[Turn]) -> int:
    """The number of exchanges that can be dropped from the end: neither the first nor one with a picture."""
    exchanges = sum(turn.role == "user" for turn in turns)
    questions = [turn.text for turn in turns[-2::-2]][: exchanges - 1]
    return next((number for number, text in enumerate(questions) if PLACEHOLDER in text), len(questions))

"""Find what fits into a sequence: refuse texts that cannot, and drop exchanges from the end of a conversation."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeVar

from foveal.models.prompts.templates import PLACEHOLDER, Segment, Turn

T = TypeVar("T")


class TooLongError(ValueError):
    """A conversation has more tokens than a sequence may have."""


def check_characters(segments: Sequence[Segment], max_length: int, longest_token: Callable[[], int]) -> None:
    """Refuse a text that has too many tokens however it is split into them.

    Ten million characters would take a minute and two gigabytes before their tokens were found too many.

    Args:
        segments: the text; `<image>` is not counted.
        max_length: most tokens.
        longest_token: characters of the longest token; asked for long texts only.

    Raises:
        TooLongError: if even the longest tokens are too many.
    """
    characters = sum(len(each.text) - len(PLACEHOLDER) * each.text.count(PLACEHOLDER) for each in segments)
    if characters > max_length and characters > max_length * (longest := longest_token()):
        raise TooLongError(
            f"the sample has {characters:,} characters, more than {max_length} tokens can have, at most {longest} "
            "each: raise max_length or shorten the text"
        )


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

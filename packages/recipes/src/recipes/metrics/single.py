"""Metrics that score every answer, where an answer alone has no score, or another one."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class ScoresSingly(Protocol):
    """A metric whose score is of many answers, but which also has one for each of them.

    Attributes:
        single: takes what `update` takes, and returns the score of each answer among them, 0 to 1; no state is changed.
    """

    single: Callable[..., Sequence[float]]

"""Work with a model that gives way to its answers."""

import time
from collections.abc import Generator
from concurrent.futures import Future
from typing import Generic, TypeVar

import torch

from recipes.serving.errors import RefusedError, out_of_memory

T = TypeVar("T")


class InSteps(Generic[T]):
    """Work in steps; whoever takes them asks before each whether it is over.

    Args:
        steps: yields between two of them, and returns the result.

    Attributes:
        result: of the work, or what it raised. Cancelling it ends the work.
    """

    def __init__(self, steps: Generator[None, None, T]) -> None:
        self.result: Future[T] = Future()
        self._steps = steps
        self._due = 0.0

    @property
    def over(self) -> bool:
        """Whether no step follows."""
        return self.result.done()

    @property
    def due(self) -> bool:
        """Whether others have had as much time since the last step as it took."""
        return time.monotonic() >= self._due

    def advance(self) -> None:
        """Take the next step."""
        began = time.monotonic()
        try:
            next(self._steps)
        except StopIteration as ended:
            if self.result.set_running_or_notify_cancel():
                self.result.set_result(ended.value)
        except torch.OutOfMemoryError:
            self._fail(out_of_memory())
        except BaseException as error:  # it is raised where the result is read
            self._fail(error)
        now = time.monotonic()
        self._due = now + (now - began)

    def refuse(self, refused: RefusedError) -> None:
        """End the work, if it has not ended."""
        if not self.over:
            self._fail(refused)

    def _fail(self, error: BaseException) -> None:
        if self.result.set_running_or_notify_cancel():
            self.result.set_exception(error)

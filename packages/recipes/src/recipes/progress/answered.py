"""How many questions are answered, on one line."""

import time

from rich.console import Console

from recipes.progress.live_line import LiveLine
from recipes.progress.words import progress_line


class AnsweredLine:
    """Shows on standard error how many questions are answered, and how long the rest will take.

    Args:
        done: answers that are there already.
        total: number of questions.
        shows: whether to show anything.

    Attributes:
        done: number of answers.
        total: as given.
    """

    def __init__(self, *, done: int, total: int, shows: bool = True) -> None:
        self.done, self.total, self._shows = done, total, shows
        self._line = LiveLine(Console(stderr=True))
        self._first, self._began = done, time.monotonic()
        self._line.start()

    def add(self) -> None:
        """Count an answer."""
        self.done += 1
        if self._shows and self._line.is_due:
            left = (time.monotonic() - self._began) / (self.done - self._first) * (self.total - self.done)
            bar = self._line.in_place
            what = "" if bar else "answered "
            self._line.show(progress_line(self.done, self.total, left, {}, width=self._line.width, what=what, bar=bar))

    def close(self) -> None:
        """Remove the line from a terminal."""
        self._line.close()

"""How much is done of something that is counted, on one line."""

import time

from rich.console import Console

from recipes.progress.live_line import LiveLine
from recipes.progress.words import progress_line


class CountedLine:
    """Shows on standard error how many questions or pages are done, and how long the rest will take.

    Args:
        what: what happens to them, such as `answered`; stands before the numbers where there is no bar.
        total: how many there are.
        done: how many were done before.
        shows: whether to show anything.

    Attributes:
        done: how many are done.
        total: as given.
    """

    def __init__(self, what: str, total: int, *, done: int = 0, shows: bool = True) -> None:
        self.done, self.total, self._what, self._shows = done, total, what, shows
        self._line = LiveLine(Console(stderr=True))
        self._first, self._began = done, time.monotonic()
        self._line.start()

    def add(self, number: int = 1) -> None:
        """Count what was done."""
        self.done += number
        if self._shows and self._line.is_due:
            left = (time.monotonic() - self._began) / (self.done - self._first) * (self.total - self.done)
            bar = self._line.in_place
            what = "" if bar else f"{self._what} "
            self._line.show(progress_line(self.done, self.total, left, {}, width=self._line.width, what=what, bar=bar))

    def skip(self, number: int) -> None:
        """Count what need not be done, and took no time."""
        self.done += number
        self._first += number

    def close(self) -> None:
        """Remove the line from a terminal."""
        self._line.close()

"""One line on what takes long."""

import math
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

BETWEEN_LINES = 60.0
"""Seconds between two lines if the output is not a terminal."""
BETWEEN_LOOKS = 0.25
"""Seconds between two updates on a terminal, for which a GPU may have to be waited for."""


class LiveLine:
    """A line that is updated in place on a terminal, and removed at the end; elsewhere a line is printed every minute.

    Args:
        console: where to print; None: standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._live: Live | None = None
        self._drawn_at, self._printed = -math.inf, ""

    @property
    def in_place(self) -> bool:
        """Whether the line is updated in place."""
        return self.console.is_terminal

    @property
    def width(self) -> int:
        """Most characters of a line."""
        # A terminal wraps a line that fills it.
        return self.console.width - 1

    @property
    def is_due(self) -> bool:
        """Whether it is time for an update."""
        return time.monotonic() - self._drawn_at >= (BETWEEN_LOOKS if self.in_place else BETWEEN_LINES)

    def start(self) -> None:
        """Begin to count the time: a terminal shows something at once, a file after the first interval."""
        self._drawn_at = -math.inf if self.in_place else time.monotonic()

    def show(self, line: str) -> None:
        """Update the line."""
        self._drawn_at = time.monotonic()
        if not self.in_place:
            if line != self._printed:
                self.console.print(Text(line), soft_wrap=True)
            self._printed = line
            return
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)

    def close(self) -> None:
        """Remove the line from a terminal."""
        if self._live is not None:
            self._live.stop()
            self._live = None

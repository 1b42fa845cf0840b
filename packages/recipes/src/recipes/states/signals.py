"""Note Ctrl-C, SIGTERM and SIGUSR1, to be handled between two steps."""

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asked the run to stop; the exit code tells which, following the shell's convention."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.exit_code = 128 + number


class Signals:
    """A context in which signals are noted instead of ending the process; the same signal again ends it at once.

    Args:
        loud: whether to print that a signal was noted; one rank of several is enough.

    Attributes:
        stop: the signal that asks the run to end; 0 if none.
        state: whether a state was asked for (SIGUSR1).
        deferred: whether a loop is running that checks `stop` at its boundaries; otherwise a stopping signal raises at
            once.
    """

    def __init__(self, *, loud: bool = True) -> None:
        self.loud = loud
        self.stop = 0
        self.state = False
        self.deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        handlers: dict[int, Callable[[int, FrameType | None], None]] = dict.fromkeys(STOPPING, self._stop)
        if hasattr(signal, "SIGUSR1"):
            handlers[signal.SIGUSR1] = self._wants_state
        self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.stop = number
        signal.signal(number, signal.SIG_DFL)
        if not self.deferred:
            raise Interrupted(number)
        if not self.loud:
            return
        # Not print: the handler may have interrupted a print.
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        os.write(2, f"\n{name}: stopping after this step; again to stop at once\n".encode())

    def _wants_state(self, _number: int, _frame: FrameType | None) -> None:
        self.state = True

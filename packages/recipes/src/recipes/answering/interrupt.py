"""Ctrl-C that a library cannot swallow."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Within, Ctrl-C raises KeyboardInterrupt as always; the function that is yielded raises it again.

    Python drops an exception that reaches it within a destructor or a callback of C code, and with it the interrupt.
    Call the function from time to time, for example at every token. For the main thread only.
    """
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)

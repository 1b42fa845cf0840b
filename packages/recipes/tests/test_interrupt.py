"""Ctrl-C that is dropped on its way is raised again."""

import os
import signal

import pytest

from recipes.answering.interrupt import interruptible


class Swallowing:
    """Python drops exceptions that are raised in a destructor."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_was_dropped_is_raised_again():
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as check:
        check()
        Swallowing()
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_is_raised_at_once():
    with interruptible(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)

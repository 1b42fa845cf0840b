"""A loader whose workers leave signals to the trainer, and end when it ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from torch.utils.data import DataLoader

LEFT_TO_THE_TRAINER = ("SIGINT", "SIGTERM", "SIGUSR1")


class TrainLoader(DataLoader[Any]):
    """As torch's; signals that are sent to all processes, as by Ctrl-C, do not reach its workers."""

    def __iter__(self) -> Any:
        if self.num_workers:
            resource_tracker.ensure_running()  # which unblocks signals when it begins
        with blocked():
            return super().__iter__()

    def end_workers(self) -> None:
        """End the workers now: Lightning leaves them alone where a run ends inside of a validation."""
        iterator = self._iterator
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
        self._iterator = None


@contextmanager
def blocked() -> Iterator[None]:
    """Within, signals wait; processes that are started here never get them, not even while they begin."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    numbers = {getattr(signal, name) for name in LEFT_TO_THE_TRAINER}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

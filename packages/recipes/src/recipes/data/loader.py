"""A data loader whose workers leave signals to the trainer, and end when it ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from torch.utils.data import DataLoader

LEFT_TO_THE_TRAINER = ("SIGINT", "SIGTERM", "SIGUSR1")


class TrainLoader(DataLoader[Any]):
    """A `DataLoader` whose workers do not receive signals sent to all processes, as by Ctrl-C."""

    def __iter__(self) -> Any:
        if self.num_workers:
            resource_tracker.ensure_running()  # it unblocks signals when it starts
        with blocked():
            return super().__iter__()

    def end_workers(self) -> None:
        """End the workers now: Lightning does not end them if a run stops during a validation."""
        iterator = self._iterator
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()
        self._iterator = None


@contextmanager
def blocked() -> Iterator[None]:
    """Block signals in this context; processes started in it never receive them, not even during start-up."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    numbers = {getattr(signal, name) for name in LEFT_TO_THE_TRAINER}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

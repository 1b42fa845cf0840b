"""Several processes that answer one benchmark, as torchrun starts them."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread
from typing import TypeVar

import torch

Value = TypeVar("Value")
LONGEST = timedelta(days=7)
"""How long ranks that are ready wait for the others."""
WATCHED = 1.0
"""Seconds between two looks at whether torchrun still runs."""


class Ranks:
    """This process among all that answer.

    Args:
        rank: its number.
        world: how many there are.
        local: its number on its machine.
    """

    def __init__(self, rank: int = 0, world: int = 1, local: int = 0) -> None:
        self.rank, self.world, self.local = rank, world, local

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes what belongs to all."""
        return self.rank == 0

    def device(self, named: str | None) -> str | None:
        """The device of this process: that of its number, unless one is named or there is no GPU."""
        if named is not None or self.world == 1 or not torch.cuda.is_available():
            return named
        return f"cuda:{self.local % torch.cuda.device_count()}"

    def of_first(self, value: Value) -> Value:
        """The value that the first process gives; the others wait for it."""
        if self.world == 1:
            return value
        held = [value]
        torch.distributed.broadcast_object_list(held)
        return held[0]

    def total(self, number: int) -> int:
        """The sum of a number over all processes."""
        summed = torch.tensor(number)
        if self.world > 1:
            torch.distributed.all_reduce(summed)
        return int(summed)

    def wait(self) -> None:
        """Wait for all."""
        if self.world > 1:
            torch.distributed.barrier()


@contextmanager
def ranks() -> Iterator[Ranks]:
    """The processes that torchrun has started; without it, this one alone.

    Raises:
        ValueError: if torchrun's variables are not numbers.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if not all(name in os.environ for name in names) or int(os.environ["WORLD_SIZE"]) == 1:
        yield Ranks()
        return
    if "TORCHELASTIC_RUN_ID" in os.environ:
        Thread(target=_end_after, args=(os.getppid(),), daemon=True).start()
    torch.distributed.init_process_group("gloo", timeout=LONGEST)
    try:
        yield Ranks(*(int(os.environ[name]) for name in names))
    finally:
        torch.distributed.destroy_process_group()


def _end_after(parent: int) -> None:
    """End this process when torchrun has been killed; it would wait for the others, with its memory, for days."""
    while os.getppid() == parent:
        time.sleep(WATCHED)
    os._exit(1)

"""Distribute samples over ranks: each once per epoch in training, from any position, and each once in validation."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import parent_process

from torch.utils.data import Sampler

from recipes.data.order import Order

DIES_WITH_PARENT = 1
"""Linux's PR_SET_PDEATHSIG."""


@dataclass(frozen=True)
class Position:
    """How far training has come: all samples of earlier epochs are done, and the first `samples` of this one.

    Attributes:
        epoch: number of the epoch, from 0.
        samples: number of samples done in the epoch's order, over all ranks.
        batch_size: samples per micro-batch that the epoch's order was made for.
        parts: micro-batches per optimizer step, over all ranks, that the epoch's order was made for.
    """

    epoch: int
    samples: int
    batch_size: int
    parts: int


class RankBatches(Sampler[list[int]]):
    """One rank's micro-batches of every epoch; over all ranks, each sample comes once.

    Where the last micro-batch has fewer samples than there are ranks, the ranks without one get a filler: a repeated
    sample of that batch, marked by its complement `~index`, on which nothing is learnt. So all ranks make the same
    number of steps.

    An epoch that was started with another batch size or number of ranks is finished in its original order.

    Args:
        order: order of the samples.
        batch_size: samples per micro-batch.
        accumulation: micro-batches per optimizer step on one rank.
        ranks: number of ranks.
        rank: index of this rank.
        position: where to start; None: at the beginning.

    Raises:
        ValueError: if the position is beyond the samples.
    """

    def __init__(
        self,
        order: Order,
        *,
        batch_size: int,
        accumulation: int = 1,
        ranks: int = 1,
        rank: int = 0,
        position: Position | None = None,
    ) -> None:
        self.order, self.batch_size, self.parts = order, batch_size, accumulation * ranks
        self.ranks, self.rank = ranks, rank
        self.position = position or self._begin(0)
        if self.position.samples > len(order):
            raise ValueError(f"{self.position.samples} samples of the epoch are done, but it has {len(order)}")

    @property
    def sampler(self) -> "RankBatches":
        """This object: Lightning sets the epoch on the sampler of a batch sampler."""
        return self

    @property
    def begun(self) -> int:
        """Number of this rank's micro-batches that count as done in the position's epoch."""
        return len(self) - self._batches(len(self.order) - self.position.samples)

    def __len__(self) -> int:
        return self._batches(len(self.order))

    def __iter__(self) -> Iterator[list[int]]:
        position = self.position
        order = self.order.indices(position.epoch, batch_size=position.batch_size, parts=position.parts)
        together = self.batch_size * self.ranks
        for start in range(position.samples, len(order), together):
            share = order[start : start + together]
            size = -(-len(share) // self.ranks)
            yield share[self.rank * size : (self.rank + 1) * size] or [~share[0]]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that comes next; the position's own epoch resumes at the position."""
        if epoch != self.position.epoch:
            self.position = self._begin(epoch)

    def after(self, batches: int) -> Position:
        """The position after this rank's first `batches` micro-batches of the epoch."""
        now = self.position
        done = min(len(self.order), now.samples + max(0, batches - self.begun) * self.batch_size * self.ranks)
        return Position(now.epoch, done, now.batch_size, now.parts)

    def _begin(self, epoch: int) -> Position:
        return Position(epoch, 0, self.batch_size, self.parts)

    def _batches(self, samples: int) -> int:
        return -(-samples // (self.batch_size * self.ranks))


def rank_questions(number: int, *, batch_size: int, ranks: int, rank: int) -> list[list[int]]:
    """One rank's batches of questions 0 to `number` - 1: each once over all ranks, the same number of batches on each.

    A rank that would have fewer questions than the others gets question 0 as a filler, marked as `~0`.
    """
    mine = list(range(rank, number, ranks))
    mine += [~0] * (-(-number // ranks) - len(mine))
    return [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]


def start_worker(_number: int) -> None:
    """Make a loader worker end when its trainer does."""
    end_with_parent()


def end_with_parent() -> None:
    """Have this process killed when the process that started it dies, where the system supports it (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
    starter = parent_process()
    if starter is not None and not starter.is_alive():
        os._exit(1)  # it died while this process was starting, and nothing else would notice

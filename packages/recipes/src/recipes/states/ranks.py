"""Communication between the ranks of a training besides gradients: on the CPU, without waiting for a GPU."""

from typing import Any

import torch
from torch import distributed


class Ranks:
    """The ranks of a training; all of them must call every method together.

    Args:
        rank: this rank.
        world: number of ranks; with 1 nothing is sent.
    """

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world
        # Not the training's own group: with NCCL every exchange would wait for the GPU.
        self._group: Any = distributed.new_group(backend="gloo") if world > 1 else None

    def gathered(self, value: Any) -> list[Any]:
        """Every rank's value, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value, group=self._group)
        return values

    def sums(self, *values: int) -> list[int]:
        """The sum of each value over the ranks, modulo 2^64."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.int64)
        distributed.all_reduce(tensor, group=self._group)
        return [int(value) for value in tensor]

"""Samples of like length and kind together, so that little is padded and no rank waits."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler


class ModalityLengthSampler(Sampler[int]):
    """LLaVA's `group_by_modality_length` (arXiv 2310.03744's code): blocks of one modality, sorted by length inside.

    An optimizer step's samples are all with pictures or all without, except in a mixed tail; inside a block they are
    dealt to ranks and micro-batches so that each has about the same length. The order follows from seed and epoch.
    Every rank gets equally many: the order is filled up from its own beginning where the ranks do not divide it.

    Args:
        lengths: of every sample; negative: it has no picture.
        batch_size: samples of a micro-batch.
        accumulation: micro-batches of a step.
        ranks: number of ranks.
        rank: this one.
        seed: of the order.

    Raises:
        ValueError: if a length is 0, whose modality is unknown, or there is none.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        batch_size: int,
        accumulation: int = 1,
        ranks: int = 1,
        rank: int = 0,
        seed: int = 0,
    ) -> None:
        if not lengths:
            raise ValueError("there are no samples to put in order")
        if zeros := [index for index, length in enumerate(lengths) if length == 0]:
            raise ValueError(f"{len(zeros)} samples have length 0, the first is number {zeros[0]}: they have no text")
        self.lengths = list(lengths)
        self.batch_size, self.parts = batch_size, accumulation * ranks
        self.ranks, self.rank, self.seed = ranks, rank, seed
        self.epoch = 0
        self._next = 0

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.ranks)

    def __iter__(self) -> Iterator[int]:
        order = self._of_rank()
        while self._next < len(order):
            self._next += 1
            yield order[self._next - 1]
        self._next = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self._next = state["epoch"], state["next"]

    def order(self) -> list[int]:
        """All ranks' samples in the epoch's order."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        block = self.batch_size * self.parts
        with_pictures = [index for index, length in enumerate(self.lengths) if length > 0]
        without = [index for index, length in enumerate(self.lengths) if length < 0]
        if not with_pictures or not without:
            return [index for part in self._blocks(range(len(self.lengths)), self.lengths, generator) for index in part]
        absolute = [abs(length) for length in self.lengths]
        kinds = [self._blocks(indices, absolute, generator) for indices in (with_pictures, without)]
        full, tail = [], []
        for blocks in kinds:
            full += blocks[:-1]
            tail += blocks[-1]
        shuffled = torch.randperm(len(full), generator=generator).tolist()
        assert all(len(part) == block for part in full)
        return [index for number in shuffled for index in full[number]] + sorted(tail)

    def _blocks(self, indices: Sequence[int], lengths: Sequence[int], generator: torch.Generator) -> list[list[int]]:
        """Random blocks of a whole step, each sorted by length and dealt to its parts."""
        block = self.batch_size * self.parts
        shuffled = [indices[number] for number in torch.randperm(len(indices), generator=generator).tolist()]
        blocks = [shuffled[start : start + block] for start in range(0, len(shuffled), block)]
        return [
            [
                index
                for part in _dealt(sorted(each, key=lambda index: -lengths[index]), lengths, self.parts)
                for index in part
            ]
            for each in blocks
        ]

    def _of_rank(self) -> list[int]:
        """This rank's micro-batches of every step."""
        order = self.order()
        order = [order[number % len(order)] for number in range(len(self) * self.ranks)]
        step = self.batch_size * self.ranks
        mine: list[int] = []
        for start in range(0, len(order), step):
            share = order[start : start + step]
            size = -(-len(share) // self.ranks)
            mine += share[self.rank * size : (self.rank + 1) * size]
        return mine


def _dealt(descending: list[int], lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Equally many for each part, and about equally long: the next longest goes to the shortest part with room."""
    if len(descending) % parts:
        return [descending[part::parts] for part in range(parts)]
    room = len(descending) // parts
    dealt: list[list[int]] = [[] for _ in range(parts)]
    totals = [0.0] * parts
    for index in descending:
        part = min((part for part in range(parts) if len(dealt[part]) < room), key=lambda part: totals[part])
        dealt[part].append(index)
        totals[part] += lengths[index]
    return dealt

"""The order of an epoch's samples: a pure function of the seed and the epoch, the same on every rank."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from recipes.data.records import Array


class Order(ABC):
    """The order of the samples of every epoch."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples in an epoch."""

    @abstractmethod
    def indices(self, epoch: int, *, batch_size: int, parts: int) -> list[int]:
        """All samples of an epoch, each once; every `batch_size * parts` in a row are one optimizer step.

        Args:
            epoch: number of the epoch, from 0.
            batch_size: samples per micro-batch.
            parts: micro-batches per optimizer step, over all ranks.
        """


class Curriculum(Order):
    """The samples in the order of their numbers, in every epoch.

    Args:
        size: number of samples.

    Raises:
        ValueError: if there are none.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("there are no samples to put in order")
        self.size = size

    def __len__(self) -> int:
        return self.size

    def indices(self, epoch: int, *, batch_size: int, parts: int) -> list[int]:
        return list(range(self.size))


class ModalityLengthOrder(Order):
    """LLaVA's `group_by_modality_length` (arXiv 2310.03744's code): blocks of one modality, each sorted by length.

    Either all samples of an optimizer step have pictures or none has, except in a mixed tail. The samples of a block
    are distributed over ranks and micro-batches so that the total lengths are about the same.

    Args:
        lengths: length of every sample; negative: it has no picture. All equal: a plain random order.
        seed: seed of the order.

    Raises:
        ValueError: if a length is 0, which leaves the modality unknown, or if there are no samples.
    """

    def __init__(self, lengths: Sequence[int] | Array, *, seed: int = 0) -> None:
        self.lengths, self.seed = np.asarray(lengths, dtype=np.int32), seed
        if not len(self.lengths):
            raise ValueError("there are no samples to put in order")
        if len(zeros := np.flatnonzero(self.lengths == 0)):
            raise ValueError(f"{len(zeros)} samples have length 0, the first is number {zeros[0]}: they have no text")

    def __len__(self) -> int:
        return len(self.lengths)

    def indices(self, epoch: int, *, batch_size: int, parts: int) -> list[int]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
        lengths: list[int] = self.lengths.tolist()
        with_pictures = [index for index, length in enumerate(lengths) if length > 0]
        without = [index for index, length in enumerate(lengths) if length < 0]
        block = batch_size * parts
        absolute = [abs(length) for length in lengths]
        if not with_pictures or not without:
            blocks = _blocks(range(len(lengths)), absolute, block, parts, generator)
            return [index for part in blocks for index in part]
        kinds = [_blocks(indices, absolute, block, parts, generator) for indices in (with_pictures, without)]
        full, tail = [], []
        for blocks in kinds:
            full += blocks[:-1]
            tail += blocks[-1]
        shuffled = torch.randperm(len(full), generator=generator).tolist()
        assert all(len(part) == block for part in full)
        return [index for number in shuffled for index in full[number]] + sorted(tail)


def _blocks(
    indices: Sequence[int], lengths: Sequence[int], block: int, parts: int, generator: torch.Generator
) -> list[list[int]]:
    """Random blocks of one optimizer step each, sorted by length and distributed over the step's parts."""
    shuffled = [indices[number] for number in torch.randperm(len(indices), generator=generator).tolist()]
    blocks = [shuffled[start : start + block] for start in range(0, len(shuffled), block)]
    return [
        [index for part in _dealt(sorted(each, key=lambda index: -lengths[index]), lengths, parts) for index in part]
        for each in blocks
    ]


def _dealt(descending: list[int], lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Parts of equal number and similar total length: the next longest sample goes to the shortest part with room."""
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

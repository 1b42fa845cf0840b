"""Pack samples into rows of one length, so that hardly anything is padding.

Which samples share a row is decided once, from their lengths and the seed. An epoch puts the packs into another order.
So every epoch has the same number of packs, and a resumed run needs no buffer: it computes the same packs again.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from foveal.models import Batch, Processor, Sample
from recipes.data.dataset import LeftOut, blank_sample, untrained
from recipes.data.order import Order

BUFFER = 128
"""Samples that a pack is chosen from."""


@dataclass(frozen=True, eq=False)
class Packs:
    """Which samples form each pack.

    Arrays instead of lists, because every loader worker gets a copy.

    Attributes:
        samples: [samples], numbers of the samples, one pack after the other.
        ends: [packs], where each pack ends.
    """

    samples: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> list[int]:
        if not 0 <= number < len(self.ends):
            raise IndexError(f"there are {len(self.ends)} packs, none has the number {number}")
        start = self.ends[number - 1] if number else 0
        members: list[int] = self.samples[start : self.ends[number]].tolist()
        return members

    def __iter__(self) -> Iterator[list[int]]:
        return (self[number] for number in range(len(self)))

    @property
    def digest(self) -> str:
        """A hash of the packs, to compare those of a resumed run."""
        return hashlib.sha256(self.samples.tobytes() + self.ends.tobytes()).hexdigest()


def pack(
    lengths: Sequence[int] | NDArray[np.integer], order: Sequence[int], capacity: int, *, buffer: int = BUFFER
) -> Packs:
    """Pack samples into rows of at most `capacity` tokens.

    A buffer holds the next `buffer` samples of the order. Each pack takes the oldest of them and those others that fill
    the row best, older ones first if there is a choice. This is a subset-sum problem, solved exactly: a bit of an
    integer for each total that some subset reaches.

    Args:
        lengths: tokens of every sample.
        order: numbers of the samples.
        capacity: tokens of a row.
        buffer: number of samples that a pack is chosen from.

    Raises:
        ValueError: if a sample is longer than a row, naming the first; or if `buffer` is below 1.
    """
    if buffer < 1:
        raise ValueError(f"a pack is chosen from {buffer} samples: at least 1 is needed")
    known: list[int] = np.asarray(lengths).tolist()
    for number in order:
        if known[number] > capacity:
            raise ValueError(
                f"sample {number} has {known[number]} tokens, a packed row has {capacity}: raise packed_length, or "
                "limit samples with max_length"
            )
    rest = iter(order)
    waiting = list(islice(rest, buffer))
    packed: list[int] = []
    ends: list[int] = []
    while waiting:
        chosen = _fullest([known[number] for number in waiting], capacity)
        packed += [waiting[place] for place in chosen]
        ends.append(len(packed))
        for place in reversed(chosen):
            del waiting[place]
        waiting += islice(rest, len(chosen))
    return Packs(np.array(packed, dtype=np.int64), np.array(ends, dtype=np.int64))


def _fullest(lengths: Sequence[int], capacity: int) -> list[int]:
    """Places of the lengths with the largest sum up to `capacity`, the first place among them."""
    within, full = (1 << capacity + 1) - 1, 1 << capacity
    # Bit n of reached[i]: some of the first i + 1 lengths add up to n, the first one among them.
    reached = [1 << lengths[0]]
    for length in lengths[1:]:
        if reached[-1] & full:
            break
        reached.append(reached[-1] | (reached[-1] << length & within))
    total = reached[-1].bit_length() - 1
    chosen = []
    for place in range(len(reached) - 1, 0, -1):
        if not reached[place - 1] >> total & 1:
            chosen.append(place)
            total -= lengths[place]
    return [0, *reversed(chosen)]


class PackedOrder(Order):
    """Packs in another random order in every epoch.

    Args:
        packs: number of packs.
        seed: seed of the order.

    Raises:
        ValueError: if there are no packs.
    """

    def __init__(self, packs: int, *, seed: int = 0) -> None:
        if packs < 1:
            raise ValueError("there are no packs to put in order")
        self.packs, self.seed = packs, seed

    def __len__(self) -> int:
        return self.packs

    def indices(self, epoch: int, *, batch_size: int, parts: int) -> list[int]:
        return shuffled(self.packs, self.seed, epoch)


def packs_of(
    lengths: Sequence[int] | NDArray[np.integer], capacity: int, *, seed: int = 0, buffer: int = BUFFER
) -> Packs:
    """The packs of all samples, read in a random order.

    Args:
        lengths: tokens of every sample.
        capacity: tokens of a row.
        seed: seed of the order in which the samples are read.
        buffer: as for `pack`.

    Raises:
        ValueError: as for `pack`.
    """
    # Not the order of an epoch: those begin at 0.
    return pack(lengths, shuffled(len(lengths), seed, -1), capacity, buffer=buffer)


def shuffled(size: int, seed: int, epoch: int) -> list[int]:
    """The numbers below `size` in the random order of an epoch."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    numbers: list[int] = torch.randperm(size, generator=generator).tolist()
    return numbers


class PackedDataset(Dataset[list[Sample | LeftOut]]):
    """The samples of each pack.

    Args:
        dataset: the samples.
        packs: which of them form each pack.
    """

    def __init__(self, dataset: Dataset[Sample | LeftOut], packs: Packs) -> None:
        self.dataset, self.packs = dataset, packs

    def __len__(self) -> int:
        return len(self.packs)

    def __getitem__(self, number: int) -> list[Sample | LeftOut]:
        return [self.dataset[sample] for sample in self.packs[number]]


def untrained_pack(samples: Sequence[Sample | LeftOut]) -> list[Sample | LeftOut]:
    """The same samples with no supervised token."""
    return [untrained(sample) for sample in samples]


class PackedCollator:
    """Collates packs into batches of rows of one length, in loader workers.

    Where a sample was left out, its row has more padding. If nothing is left, the batch is a blank picture without
    supervised tokens, as in `SampleCollator`.

    Args:
        processor: makes batches.
        length: tokens of a row.
    """

    def __init__(self, processor: Processor, length: int) -> None:
        self.processor, self.length = processor, length

    def __call__(self, packs: Sequence[Sequence[Sample | LeftOut]]) -> Batch:
        kept = [[sample for sample in each if isinstance(sample, Sample)] for each in packs]
        told = tuple(sample.message for each in packs for sample in each if isinstance(sample, LeftOut))
        if not any(kept):
            kept[0].append(blank_sample(self.processor))
        return replace(self.processor.collate_packed(kept, self.length), left_out=tuple(filter(None, told)))

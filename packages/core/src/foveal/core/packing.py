"""Ragged sequences as one, and things of a kind together."""

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)


def pack(sequences: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
    """Lay sequences end to end.

    Args:
        sequences: [tokens_i, ...] each, equal behind the first dimension.

    Returns:
        [1, sum of tokens_i, ...] and the lengths.

    Raises:
        ValueError: if there is no sequence, or they differ behind the first dimension.
    """
    if not sequences:
        raise ValueError("nothing to pack: the list of sequences is empty")
    shapes = {tuple(sequence.shape[1:]) for sequence in sequences}
    if len(shapes) > 1:
        raise ValueError(f"sequences to pack must agree behind the first dimension, found {sorted(shapes)}")
    return torch.cat(list(sequences))[None], [len(sequence) for sequence in sequences]


def unpack(packed: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """The sequences that `pack` laid end to end; views, nothing is copied.

    Args:
        packed: [1, sum of lengths, ...].
        lengths: tokens of each sequence.

    Raises:
        ValueError: if the lengths do not add up to the packed tokens.
    """
    if packed.shape[0] != 1 or packed.shape[1] != sum(lengths):
        raise ValueError(
            f"lengths add up to {sum(lengths)}, a packed tensor [1, {sum(lengths)}, ...] is expected, "
            f"not {tuple(packed.shape)}"
        )
    return list(packed[0].split(list(lengths)))


def group_by(keys: Iterable[Key]) -> dict[Key, list[int]]:
    """Positions of equal keys, keys in the order in which they are first seen."""
    groups: dict[Key, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return groups

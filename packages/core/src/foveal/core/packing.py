"""Ragged sequences as one, and things of a kind together."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


class Lengths(tuple[int, ...]):
    """Tokens of each of the sequences that are packed into one.

    What a kernel makes of them is made once and kept with them, so that all layers of a network that are given the
    same object share it.
    """

    def starts(self, device: torch.device) -> Tensor:
        """Where each sequence begins, and where the last one ends: int32 [sequences + 1], on `device`."""
        return self.once(
            (Tensor, device), lambda: torch.tensor([0, *accumulate(self)], dtype=torch.int32, device=device)
        )

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gave when it was first asked for under this key.

        Args:
            key: names what is made, the device it is on and all that it depends on besides these lengths.
            make: makes it.
        """
        if key not in self._made:
            # A tensor of inference mode could not be kept for a backward pass later.
            with torch.inference_mode(False):
                self._made[key] = make()
        made: Made = self._made[key]
        return made

    @cached_property
    def _made(self) -> dict[Hashable, Any]:
        return {}


def pack(sequences: Sequence[Tensor]) -> tuple[Tensor, Lengths]:
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
    return torch.cat(list(sequences))[None], Lengths(len(sequence) for sequence in sequences)


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

"""Pack ragged sequences into one, and group equal things."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


class Lengths(tuple[int, ...]):
    """Number of tokens of each sequence in a packed one.

    What a kernel derives from them is computed once and cached here, so that all layers of a network that receive the
    same object share it.
    """

    def starts(self, device: torch.device) -> Tensor:
        """Start of each sequence, then the end of the last one: int32 [sequences + 1], on `device`."""
        return self.once(
            (Tensor, device), lambda: torch.tensor([0, *accumulate(self)], dtype=torch.int32, device=device)
        )

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The result of `make` for this key; later calls with an equal key reuse the first result.

        Args:
            key: identifies the result: what it is, its device and everything else it depends on besides these lengths.
            make: computes it.
        """
        if key not in self._made:
            # A tensor made in inference mode could not be used in a later backward pass.
            with torch.inference_mode(False):
                self._made[key] = make()
        made: Made = self._made[key]
        return made

    @cached_property
    def _made(self) -> dict[Hashable, Any]:
        return {}


def pack(sequences: Sequence[Tensor]) -> tuple[Tensor, Lengths]:
    """Concatenate sequences into one.

    Args:
        sequences: [tokens_i, ...] each, equal after the first dimension.

    Returns:
        [1, sum of tokens_i, ...] and the lengths.

    Raises:
        ValueError: if there is no sequence, or they differ after the first dimension.
    """
    if not sequences:
        raise ValueError("nothing to pack: the list of sequences is empty")
    shapes = {tuple(sequence.shape[1:]) for sequence in sequences}
    if len(shapes) > 1:
        raise ValueError(f"sequences to pack must agree after the first dimension, found {sorted(shapes)}")
    return torch.cat(list(sequences))[None], Lengths(len(sequence) for sequence in sequences)


def unpack(packed: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """Split a packed sequence into the sequences that `pack` joined; they are views, nothing is copied.

    Args:
        packed: [1, sum of lengths, ...].
        lengths: tokens of each sequence.

    Raises:
        ValueError: if the lengths do not add up to the packed tokens.
    """
    if packed.shape[0] != 1 or packed.shape[1] != sum(lengths):
        raise ValueError(
            f"lengths add up to {sum(lengths)}, so a packed tensor [1, {sum(lengths)}, ...] is expected, "
            f"not {tuple(packed.shape)}"
        )
    return list(packed[0].split(list(lengths)))


def group_by(keys: Iterable[Key]) -> dict[Key, list[int]]:
    """Map each key to the positions where it occurs, in order of first occurrence."""
    groups: dict[Key, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return groups

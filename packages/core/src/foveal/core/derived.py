"""Tensors that no file has as they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Derived:
    """A tensor that is computed from stored ones when it is read.

    Attributes:
        like: on the meta device, with the result's dtype and shape.
        parts: names of the stored tensors, which are no longer there themselves.
        compute: makes the tensor from them, given by these names.
    """

    like: Tensor
    parts: tuple[str, ...]
    compute: Callable[[Mapping[str, Tensor]], Tensor]

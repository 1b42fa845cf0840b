"""Modules as shapes only, which are compared with stored weights before any memory is taken for them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CALLS = 10_000
CALLS_PER_TENSOR = 50
"""Calls of torch while a module is built; encoders, connectors and language models need three to seven a tensor."""


class _Bounded(TorchFunctionMode):
    """Ends a construction that goes on for ever, as with a depth of a billion."""

    def __init__(self, tensors: int) -> None:
        super().__init__()
        self.left = CALLS + CALLS_PER_TENSOR * tensors

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left < 0:
            raise ValueError("has far more tensors than are stored")
        return func(*args, **(kwargs or {}))


def built_on_meta(build: Callable[[], Any], stored: Mapping[str, Tensor]) -> nn.Module:
    """What `build` makes, on the meta device.

    Raises:
        ValueError: if it goes on for far more tensors than those of `stored`, or as `build`.
    """
    with torch.device("meta"), _Bounded(len(stored)):
        module: nn.Module = build()
    return module

"""Build modules as shapes only, to compare them with stored weights before any memory is allocated."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CALLS = 10_000
CALLS_PER_TENSOR = 50
"""Most calls of torch while a module is built, for each stored tensor and in addition to `CALLS`.

Encoders, connectors and language models need three to seven per tensor."""


class _Bounded(TorchFunctionMode):
    """Stops a construction that would not end, such as one with a depth of a billion."""

    def __init__(self, tensors: int) -> None:
        super().__init__()
        self.left = CALLS + CALLS_PER_TENSOR * tensors

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= 1
        if self.left < 0:
            raise ValueError("has far more tensors than are stored")
        return func(*args, **(kwargs or {}))


def built_on_meta(build: Callable[[], Any], stored: Mapping[str, Tensor]) -> nn.Module:
    """Call `build` on the meta device, and return its module.

    Raises:
        ValueError: if it would have far more tensors than `stored`; also whatever `build` raises.
    """
    with torch.device("meta"), _Bounded(len(stored)):
        module: nn.Module = build()
    return module

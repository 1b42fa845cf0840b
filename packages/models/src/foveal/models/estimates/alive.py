"""Bytes of the tensors that are alive while code runs on tensors without numbers."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from foveal.models.estimates.few_layers import Phases


class Alive(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive: `held` ones and those that are made within.

    Attributes:
        now: bytes at this moment.
        phases: the most that there were in each of its stretches.
    """

    def __init__(self, held: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = 0
        self.phases = Phases(lambda: self.now)
        self._known: dict[int, int] = {}
        for tensor in held:
            self._see(tensor)

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        if operation is torch.ops.prim.device.default:
            # Asked for by every operation, many times: nine of ten calls.
            return arguments[0].fake_device
        results = operation(*arguments, **(options or {}))
        for result in tree_iter(results):
            if isinstance(result, Tensor):
                self._see(result)
        return results

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata  # tensors that are views of each other share it
        if key not in self._known:
            self._known[key] = storage.nbytes()
            self.now += self._known[key]
            self.phases.see(self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._known.pop(key)

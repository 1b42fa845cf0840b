"""Count the bytes of live tensors while code runs on fake tensors, which have shapes but no values."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from foveal.models.estimates.few_layers import Phases


class Alive(TorchDispatchMode):
    """Counts the bytes of all live tensors: those in `held`, and those created inside this context.

    Attributes:
        now: bytes that are live now.
        phases: peak bytes of each phase of the run.
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
            # Every operation asks for it many times: these are nine of ten calls.
            return arguments[0].fake_device
        results = operation(*arguments, **(options or {}))
        for result in tree_iter(results):
            if isinstance(result, Tensor):
                self._see(result)
        return results

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata  # shared by tensors that are views of each other
        if key not in self._known:
            self._known[key] = storage.nbytes()
            self.now += self._known[key]
            self.phases.see(self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._known.pop(key)

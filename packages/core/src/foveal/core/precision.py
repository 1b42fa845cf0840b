"""Contexts that compute in full precision."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which tensors on `device` keep their precision, even inside an autocast context."""
    # torch.autocast does not support the meta device, on which nothing is computed anyway.
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


@contextmanager
def in_float32(model: nn.Module, layers: Iterable[nn.Module]) -> Iterator[None]:
    """A context in which `model` computes in float32; afterwards every weight is what it was, bit for bit.

    Args:
        model: on any device; nothing else may use it meanwhile.
        layers: those that make up most of the model; only the one that is running is held in float32.
    """
    hooks, of_layers = [], set()
    for layer in layers:
        inside = _floats(layer)
        kept = [tensor.data for tensor in inside]
        of_layers |= {id(tensor) for tensor in inside}
        hooks.append(layer.register_forward_pre_hook(lambda *_, inside=inside: _set(inside, None)))
        hooks.append(
            layer.register_forward_hook(lambda *_, inside=inside, kept=kept: _set(inside, kept), always_call=True)
        )
    outside = [tensor for tensor in _floats(model) if id(tensor) not in of_layers]
    stored = [tensor.data for tensor in outside]
    _set(outside, None)
    try:
        yield
    finally:
        _set(outside, stored)
        for hook in hooks:
            hook.remove()


def _floats(module: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]


def _set(tensors: list[Tensor], values: list[Tensor] | None) -> None:
    """Set `tensors` to these values; None: to their own values in float32."""
    for number, tensor in enumerate(tensors):
        tensor.data = tensor.data.float() if values is None else values[number]

"""Where full precision matters."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Within, tensors on `device` keep their precision, whatever autocast is switched on around it."""
    # torch.autocast knows no meta device, on which nothing is computed anyway.
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


@contextmanager
def in_float32(model: nn.Module, layers: Iterable[nn.Module]) -> Iterator[None]:
    """Within, `model` computes in float32, and afterwards every weight is what it was, bit for bit.

    Args:
        model: on any device; nothing else uses it meanwhile.
        layers: most of the model; of these only the one that runs is there in float32.
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
    """Give `tensors` these values; None: their own in float32."""
    for number, tensor in enumerate(tensors):
        tensor.data = tensor.data.float() if values is None else values[number]

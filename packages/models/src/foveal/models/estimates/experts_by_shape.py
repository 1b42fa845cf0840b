"""Mixtures of experts without data: which experts a token goes to is not known, how many is."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


@contextmanager
def experts_by_shape(model: nn.Module) -> Iterator[None]:
    """In this context, every token passes as many experts as its router chooses, but always the first of them.

    That is as much work as with any other experts. Experts are recognised by transformers' two tensors of a layer,
    `gate_up_proj` [experts, 2 * width inside, width] and `down_proj` [experts, width, width inside].

    Args:
        model: on the meta device, or of tensors without data.
    """
    found: list[Any] = [module for module in model.modules() if _is_experts(module)]
    for module in found:
        module.forward = partial(_passed, module)
    try:
        yield
    finally:
        for module in found:
            del module.forward


def _is_experts(module: nn.Module) -> bool:
    own = dict(module.named_parameters(recurse=False))
    return all(name in own and own[name].ndim == 3 for name in ("gate_up_proj", "down_proj"))


def _passed(experts: Any, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """[tokens, width] -> [tokens, width]; `top_k_index` and `top_k_weights` are [tokens, experts of a token]."""
    rows = hidden[:, None].expand(-1, top_k_index.shape[-1], -1).flatten(0, 1)
    gate, up = F.linear(rows, experts.gate_up_proj[0]).chunk(2, dim=-1)
    result: Tensor = F.linear(F.silu(gate) * up, experts.down_proj[0]).unflatten(0, top_k_index.shape)
    return (result * top_k_weights[..., None]).sum(dim=1).to(hidden.dtype)

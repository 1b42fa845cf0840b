"""Attention whose probabilities are kept."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class RecordedAttention(TorchFunctionMode):
    """A context that computes torch's attention step by step and keeps its `probabilities`, in the order of the calls:
    [batch, heads, queries, keys] each, after the softmax.

    It intercepts all calls of `scaled_dot_product_attention`: from `foveal.core.attention` with dense input, and from
    transformers' models with `attn_implementation="sdpa"` (models with `eager` return their own). The probabilities are
    part of the graph even if all weights are frozen. A mask must leave at least one key to every query.
    """

    def __init__(self) -> None:
        super().__init__()
        self.probabilities: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = self._attend if func is F.scaled_dot_product_attention else func
        return call(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if dropout_p:
            raise ValueError(f"attention with dropout {dropout_p} cannot be explained: call .eval() on the model first")
        if enable_gqa:
            key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], dim=-3) for each in (key, value))
        scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None:
            hides = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, float("-inf")) if hides else scores + attn_mask
        probabilities = scores.softmax(dim=-1)
        self.probabilities.append(probabilities if probabilities.requires_grad else probabilities.requires_grad_())
        return probabilities @ value

"""Attention whose probabilities are kept."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from foveal.connectors.deformable import deformable_attention, neighbours
from foveal.core import Grid


class RecordedAttention(TorchFunctionMode):
    """A context that computes torch's attention step by step and keeps its `probabilities`, in the order of the calls:
    [batch, heads, queries, keys] each, after the softmax.

    Deformable attention is recorded as a table as well: the weights of all points around a key, times the key's share
    in them, summed.

    It intercepts all calls of `scaled_dot_product_attention`: from `foveal.core.attention` with dense input, and from
    transformers' models with `attn_implementation="sdpa"` (models with `eager` return their own). The probabilities are
    part of the graph even if all weights are frozen. A mask must leave at least one key to every query.
    """

    def __init__(self) -> None:
        super().__init__()
        self.probabilities: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        ours = {F.scaled_dot_product_attention: self._attend, deformable_attention: self._sample}
        return ours.get(func, func)(*args, **(kwargs or {}))

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
        return self._kept(scores.softmax(dim=-1)) @ value

    def _sample(self, value: Tensor, grids: Sequence[Grid], locations: Tensor, weights: Tensor) -> Tensor:
        found, shares = neighbours(grids, locations.to(torch.promote_types(value.dtype, torch.float32)))
        at_keys = (shares * weights[..., None]).flatten(3).transpose(1, 2)
        table = at_keys.new_zeros(*at_keys.shape[:3], value.shape[1])
        table = self._kept(table.scatter_add(-1, found.flatten(3).transpose(1, 2), at_keys))
        return (table @ value.transpose(1, 2).to(table)).transpose(1, 2).flatten(2).to(value)

    def _kept(self, probabilities: Tensor) -> Tensor:
        self.probabilities.append(probabilities if probabilities.requires_grad else probabilities.requires_grad_())
        return self.probabilities[-1]

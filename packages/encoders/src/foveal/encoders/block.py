"""The transformer block of vision encoders."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from foveal.core import Backend, attention

Activation = Literal["quick_gelu", "gelu", "gelu_tanh", "swiglu"]
Norm = Literal["layer", "rms"]


def run_block(block: nn.Module, hidden: Tensor, *rest: object, recomputed: bool) -> Tensor:
    """The output of a block.

    Args:
        block: of any kind, with one tensor as its result.
        hidden: its first argument.
        rest: its other arguments.
        recomputed: whether it runs again in the backward pass, so that its activations need not be kept.
    """
    result: Tensor = checkpoint(block, hidden, *rest, use_reentrant=False) if recomputed else block(hidden, *rest)
    return result


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a norm and with a residual path.

    With `layer_scale` each path is scaled per channel before it is added (CaiT, arXiv 2103.17239, equation 4); with
    `swiglu` the feed-forward layer is gated (arXiv 2002.05202, equation 6). With `norm_queries` queries and keys are
    RMS-normalised over the channels of all heads together (InternVL, arXiv 2312.14238, released code).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        activation: Activation,
        norm_eps: float,
        backend: Backend,
        *,
        layer_scale: bool = False,
        norm: Norm = "layer",
        qkv_bias: bool = True,
        norm_queries: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.activation, self.backend = heads, activation, backend
        new_norm = nn.RMSNorm if norm == "rms" else nn.LayerNorm
        self.attention_norm = new_norm(width, eps=norm_eps)
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.query_norm = nn.RMSNorm(width, eps=norm_eps) if norm_queries else None
        self.key_norm = nn.RMSNorm(width, eps=norm_eps) if norm_queries else None
        self.out = nn.Linear(width, width)
        self.mlp_norm = new_norm(width, eps=norm_eps)
        self.up = nn.Linear(width, 2 * mlp_width if activation == "swiglu" else mlp_width)
        self.down = nn.Linear(mlp_width, width)
        self.attention_scale = nn.Parameter(torch.ones(width)) if layer_scale else None
        self.mlp_scale = nn.Parameter(torch.ones(width)) if layer_scale else None

    def forward(self, hidden: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """[batch, tokens, width] -> [batch, tokens, width]; `lengths` are those of packed sequences."""
        return self._finished(hidden, *self._projected(hidden), lengths)

    def _projected(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [batch, tokens, heads, head_width] each."""
        projections = self.qkv(self.attention_norm(hidden)).chunk(3, dim=-1)
        norms = self.query_norm, self.key_norm, None
        query, key, value = (
            (each if norm is None else norm(each)).unflatten(-1, (self.heads, -1))
            for each, norm in zip(projections, norms, strict=True)
        )
        return query, key, value

    def _finished(
        self, hidden: Tensor, query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int] | None
    ) -> Tensor:
        """The block's output, from its input and the queries, keys and values."""
        attended = self.out(attention(query, key, value, lengths=lengths, backend=self.backend).flatten(2))
        hidden = hidden + (attended if self.attention_scale is None else self.attention_scale * attended)
        inner = self.down(self._activated(self.up(self.mlp_norm(hidden))))
        result: Tensor = hidden + (inner if self.mlp_scale is None else self.mlp_scale * inner)
        return result

    def _activated(self, inner: Tensor) -> Tensor:
        if self.activation == "quick_gelu":
            return inner * torch.sigmoid(1.702 * inner)
        if self.activation == "swiglu":
            gate, value = inner.chunk(2, dim=-1)
            return F.silu(gate) * value
        return F.gelu(inner, approximate="tanh" if self.activation == "gelu_tanh" else "none")

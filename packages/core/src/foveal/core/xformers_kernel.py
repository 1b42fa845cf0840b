"""The one place that knows xformers: its memory-efficient attention and its biases.

Layout [batch, tokens, heads, head_width]; packed input is batch 1 with a block-diagonal bias, so that no work is done
between sequences. CUDA only.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor


@cache
def _installed() -> bool:
    return find_spec("xformers") is not None


def obstacle(tensor: Tensor) -> str | None:
    """Why the kernel cannot run on tensors like this one; None: it can."""
    if not _installed():
        return "the package xformers is not installed (pip install foveal-core[xformers])"
    if tensor.device.type != "cuda":
        return f"it runs on CUDA devices only, the tensors are on {tensor.device.type}"
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"it takes float16, bfloat16 and float32, not {tensor.dtype}"
    return None


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: Sequence[int] | None,
    key_lengths: Sequence[int] | None,
    causal: bool,
    scale: float | None,
) -> Tensor:
    """As `foveal.core.attention`, arguments already checked."""
    from xformers.ops import memory_efficient_attention
    from xformers.ops.fmha.attn_bias import BlockDiagonalCausalMask, BlockDiagonalMask, LowerTriangularMask

    if lengths is not None:
        kind = BlockDiagonalCausalMask if causal else BlockDiagonalMask
        bias = kind.from_seqlens(list(lengths), list(key_lengths) if key_lengths is not None else None)
    else:
        bias = LowerTriangularMask() if causal else None
    out: Tensor = memory_efficient_attention(query, key, value, attn_bias=bias, scale=scale)
    return out

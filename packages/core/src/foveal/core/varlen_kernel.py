"""torch's own attention for packed sequences, `torch.nn.attention.varlen`; only this file uses it.

FlashAttention 2 (arXiv 2307.08691), or 3 or 4 where they are activated in torch, on [tokens, heads, head_width] with
the offsets at which sequences begin. Key and value heads shared by several query heads are not repeated.
"""

import inspect
from functools import cache
from typing import cast

import torch
from torch import Tensor

from foveal.core.packing import Lengths
from foveal.core.trial import refusal


def obstacle(tensor: Tensor) -> str | None:
    """Why the kernel cannot run on tensors [..., head_width] like this one; None if it can."""
    if tensor.device.type != "cuda":
        return f"it runs on CUDA devices only, the tensors are on {tensor.device.type}"
    if tensor.dtype not in (torch.float16, torch.bfloat16):
        return f"it takes float16 and bfloat16, not {tensor.dtype}"
    if tensor.shape[-1] % 8 or tensor.shape[-1] > 256:
        return f"it takes head widths that are multiples of 8 up to 256, not {tensor.shape[-1]}"
    return _absence() or refusal(attend, tensor)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    lengths: Lengths | None,
    key_lengths: Lengths | None,
    causal: bool,
    scale: float | None,
) -> Tensor:
    """Compute `foveal.core.attention` with checked arguments; query heads may share those of key and value."""
    from torch.nn.attention.varlen import varlen_attn

    starts, longest = _starts(query, lengths)
    key_starts, longest_key = _starts(key, key_lengths)
    out = varlen_attn(
        query.flatten(0, 1),
        key.flatten(0, 1),
        value.flatten(0, 1),
        starts,
        key_starts,
        longest,
        longest_key,
        scale=scale,
        window_size=(-1, 0) if causal else (-1, -1),
        enable_gqa=query.shape[2] != key.shape[2],
    )
    result: Tensor = cast(Tensor, out).unflatten(0, query.shape[:2])  # a pair only if the log-sum-exp is requested
    return result


def _starts(tensor: Tensor, lengths: Lengths | None) -> tuple[Tensor, int]:
    """The starts of sequences and the end of the last, int32 [sequences + 1], and the tokens of the longest.

    Args:
        tensor: [batch, tokens, ...].
        lengths: of the sequences; None: each row is one sequence.
    """
    batch, tokens = tensor.shape[:2]
    if lengths is None:
        return torch.arange(batch + 1, dtype=torch.int32, device=tensor.device) * tokens, tokens
    return lengths.starts(tensor.device), max(lengths)


@cache
def _absence() -> str | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return f"torch {torch.__version__} does not have torch.nn.attention.varlen; torch 2.12 or later is needed"
    if "enable_gqa" not in inspect.signature(varlen_attn).parameters:
        return f"varlen_attn of torch {torch.__version__} cannot share heads; torch 2.12 or later is needed"
    return None

"""The one place that knows xformers: its memory-efficient attention and its biases.

Layout [batch, tokens, heads, head_width]; packed input is batch 1 with a block-diagonal bias, so that no work is done
between sequences. CUDA only.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor


def obstacle(tensor: Tensor) -> str | None:
    """Why the kernel cannot run on tensors [..., head_width] like this one; None: it can."""
    if not _installed():
        return "the package xformers is not installed (pip install foveal-core[xformers])"
    if tensor.device.type != "cuda":
        return f"it runs on CUDA devices only, the tensors are on {tensor.device.type}"
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"it takes float16, bfloat16 and float32, not {tensor.dtype}"
    return refusal(tensor.device, tensor.dtype, tensor.shape[-1])


@cache
def refusal(device: torch.device, dtype: torch.dtype, head_width: int) -> str | None:
    """What the kernel itself says to a tiny packed input, forward and backward; None: it runs.

    Which kernels there are depends on the build, the GPU, the dtype and the head width, and changes between releases:
    asking once is surer than a list.
    """
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            sample = torch.zeros(1, 3, 1, head_width, device=device, dtype=dtype, requires_grad=True)
            attend(sample, sample, sample, [1, 2], [1, 2], False, None).sum().backward()
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        return f"it refuses {dtype} with head width {head_width} on {device} ({str(error).strip()})"
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
    from xformers.ops.fmha.attn_bias import BlockDiagonalMask, LowerTriangularMask

    bias = LowerTriangularMask() if causal else None
    if lengths is not None and key_lengths is not None:
        # The bias holds tensors of its own; by default they would be on the current device, not the query's.
        bias = BlockDiagonalMask.from_seqlens(list(lengths), list(key_lengths), device=query.device)
        if causal:
            bias = bias.make_causal()
    out: Tensor = memory_efficient_attention(query, key, value, attn_bias=bias, scale=scale)
    return out


@cache
def _installed() -> bool:
    return find_spec("xformers") is not None

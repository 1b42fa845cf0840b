"""xformers' memory-efficient attention and its biases; only this file uses xformers.

Layout [batch, tokens, heads, head_width]; packed input is batch 1 with a block-diagonal bias, so that nothing is
computed between sequences. CUDA only.
"""

import logging
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from foveal.core.cuda_runtime import load_cuda_12_runtime
from foveal.core.packing import Lengths
from foveal.core.trial import refusal


def obstacle(tensor: Tensor) -> str | None:
    """Why the kernel cannot run on tensors [..., head_width] like this one; None if it can."""
    if not _installed():
        return "the package xformers is not installed (pip install 'foveal-core[xformers]')"
    if tensor.device.type != "cuda":
        return f"it runs on CUDA devices only, the tensors are on {tensor.device.type}"
    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"it takes float16, bfloat16 and float32, not {tensor.dtype}"
    return load() or refusal(attend, tensor)


@cache
def load() -> str | None:
    """Import the library, after the CUDA runtime it may need; return why that failed, None if it did not.

    The library can be imported without its compiled part, but then refuses every input.
    """
    runtime = load_cuda_12_runtime()
    noise = logging.getLogger("xformers")
    noise.addFilter(_nothing)  # it logs five lines about the compiled part; our reason has the one that matters
    try:
        import xformers.ops
        from xformers import _cpp_lib
    except ImportError as error:
        return f"the package xformers cannot be imported ({error})"
    finally:
        noise.removeFilter(_nothing)
    failure = _cpp_lib._cpp_library_load_exception
    if failure is None:
        return None
    reason = runtime or failure.__cause__ or str(failure).splitlines()[0]
    return f"the compiled part of xformers {xformers.__version__} cannot be loaded ({reason})"


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
    from xformers.ops import memory_efficient_attention
    from xformers.ops.fmha.attn_bias import BlockDiagonalMask, LowerTriangularMask

    bias = LowerTriangularMask() if causal else None
    if lengths is not None and key_lengths is not None:
        others = tuple(key_lengths)  # a plain tuple: the cache of `lengths` must not have `lengths` itself in a key

        def block_diagonal() -> BlockDiagonalMask:
            # The bias holds tensors, which by default would be on the current device, not the query's.
            mask = BlockDiagonalMask.from_seqlens(list(lengths), list(others), device=query.device)
            return mask.make_causal() if causal else mask

        bias = lengths.once((BlockDiagonalMask, others, causal, query.device), block_diagonal)
    # The backward pass does not support shared heads.
    groups = query.shape[2] // key.shape[2]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=2), value.repeat_interleave(groups, dim=2)
    out: Tensor = memory_efficient_attention(query, key, value, attn_bias=bias, scale=scale)
    return out


@cache
def _installed() -> bool:
    return find_spec("xformers") is not None


def _nothing(record: logging.LogRecord) -> bool:
    return False

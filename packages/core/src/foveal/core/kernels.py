"""Choose the kernel that attention runs on, and log the choice and its reasons once."""

import logging
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

from foveal.core import varlen_kernel, xformers_kernel
from foveal.core.trial import Attend

Backend = Literal["auto", "sdpa", "xformers", "varlen"]

PACKED = {"xformers": xformers_kernel, "varlen": varlen_kernel}
"""The kernels that `auto` tries for packed input, in this order."""

logger = logging.getLogger(__name__)


def chosen(tensor: Tensor, backend: Backend, *, packed: bool, hindrance: str | None = None) -> Attend | None:
    """The kernel for tensors [..., head_width] like this one; None for torch's `scaled_dot_product_attention`.

    `auto` uses torch for dense input. For packed input it uses the first of these that can run:

    1. xformers: for float16 and bfloat16 on Ampere and newer it calls the same FlashAttention as varlen, or
       FlashAttention 3 where that is installed; it alone has a kernel for older GPUs, and for float32 up to Hopper;
    2. varlen: needs no package besides torch, and does not repeat shared heads;
    3. torch, with one call per pair of lengths.

    Args:
        tensor: on the device and in the dtype of the queries.
        backend: see `foveal.core.attention`.
        packed: whether the input is packed sequences.
        hindrance: why neither packed kernel can take the input on any device; None if there is no such reason.

    Raises:
        ValueError: if the backend is unknown.
        RuntimeError: if the backend was requested by name and cannot run here; the message says why.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"unknown attention backend {backend!r}: {', '.join(get_args(Backend))}")
    name, attend, reasons = "sdpa", None, []
    for candidate, kernel in PACKED.items():
        if backend != candidate and not (backend == "auto" and packed):
            continue
        reason = hindrance or kernel.obstacle(tensor)
        if reason is None:
            name, attend = candidate, kernel.attend
            break
        if backend == candidate:
            raise RuntimeError(f"attention backend {backend!r} cannot run: {reason}")
        reasons.append(f"{candidate}: {reason}")
    if not torch.compiler.is_compiling() and logger.isEnabledFor(logging.INFO):
        _say(packed, tensor.device, tensor.dtype, tensor.shape[-1], name, "; ".join(reasons))
    return attend


@cache
def _say(packed: bool, device: torch.device, dtype: torch.dtype, head_width: int, name: str, reasons: str) -> None:
    """Log one line; `cache` keeps it from being repeated for calls of the same kind."""
    logger.info(
        "attention, %s, %s on %s, head width %d: %s%s",
        "packed" if packed else "dense",
        str(dtype).removeprefix("torch."),
        device,
        head_width,
        name,
        f" ({reasons})" if reasons else "",
    )

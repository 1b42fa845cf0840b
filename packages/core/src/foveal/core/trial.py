"""Try out whether a kernel runs."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from foveal.core.packing import Lengths

Attend = Callable[[Tensor, Tensor, Tensor, Lengths | None, Lengths | None, bool, float | None], Tensor]
"""A kernel's attention: takes query, key, value, lengths, key lengths, causal, scale; see `foveal.core.attention`."""


def refusal(attend: Attend, tensor: Tensor) -> str | None:
    """Run a kernel forward and backward on a tiny packed input like `tensor`, [..., head_width]; return its complaint.

    Which kernels exist depends on the build, the GPU, the dtype and the head width, and changes between releases:
    trying once is more reliable than a list. Some have no backward pass when torch must be deterministic.

    Returns:
        The kernel's error on one line; None if it runs.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    return _refusal(attend, tensor.device, tensor.dtype, tensor.shape[-1], deterministic)


@cache
def _refusal(
    attend: Attend, device: torch.device, dtype: torch.dtype, head_width: int, deterministic: bool
) -> str | None:
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            query = torch.zeros(1, 3, 2, head_width, device=device, dtype=dtype, requires_grad=True)
            key = torch.zeros(1, 3, 1, head_width, device=device, dtype=dtype, requires_grad=True)
            lengths = Lengths([1, 2])
            attend(query, key, key, lengths, lengths, False, None).sum().backward()
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        mode = ", deterministic," if deterministic else ""
        words = " ".join(str(error).split())
        return f"it refuses {dtype} with head width {head_width}{mode} on {device} ({words})"
    return None

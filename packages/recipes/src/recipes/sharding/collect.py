"""Gather the whole weights of a sharded network."""

from typing import Any

from torch import Tensor, distributed
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from foveal.models import VisionLanguageModel


def whole_state(network: VisionLanguageModel) -> dict[str, Tensor] | None:
    """The state dict of a sharded network on the CPU of the first rank, gathered one weight at a time.

    All ranks must call it. Tied weights are gathered once and stay one tensor.

    Args:
        network: sharded or not.

    Returns:
        None on the other ranks, and on all ranks if the network is not sharded: then each rank has all weights.
    """
    if not isinstance(network, FSDPModule):
        return None
    first = distributed.get_rank() == 0
    state: dict[str, Tensor] = {}
    gathered: dict[int, Tensor] = {}
    held: dict[str, Any] = network.state_dict(keep_vars=True)
    for name, tensor in held.items():
        if isinstance(tensor, DTensor):
            if id(tensor) not in gathered:
                # All ranks take part, but only the first keeps the result.
                sharded: Any = tensor.detach()
                whole: Tensor = sharded.full_tensor()
                gathered[id(tensor)] = whole.cpu() if first else whole.new_empty(0)
            state[name] = gathered[id(tensor)]
        elif first:
            state[name] = tensor.detach().cpu()
    return state if first else None

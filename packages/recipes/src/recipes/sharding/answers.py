"""Generate answers with a network that may be sharded."""

from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule

from foveal.models import Batch, VisionLanguageModel, generate


def answers(network: VisionLanguageModel, batch: Batch, *, max_new_tokens: int) -> list[str]:
    """Generate answers greedily, like `generate`.

    With a sharded network, all ranks must call this equally often; a rank whose answers end early continues until those
    of the other ranks have ended.

    Args:
        network: whole, or sharded by `shard_network`.
        batch: as for `generate`.
        max_new_tokens: longest answer in tokens, the same on all ranks.
    """
    if not isinstance(network, FSDPModule):
        return generate(network, batch, max_new_tokens=max_new_tokens)
    # Weights first gathered in inference mode could not be trained afterwards.
    with torch.inference_mode(False), torch.no_grad():
        try:
            sharded: Any = network  # `shard_network` has given it this method
            texts: list[str] = sharded.generate(batch, max_new_tokens=max_new_tokens)
        finally:
            network.reshard()
    return texts

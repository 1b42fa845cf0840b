"""What a training leaves of its model: a checkpoint, or with LoRA a folder of adapters and, if need be, their base."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from foveal.models import VisionLanguageModel, save
from foveal.models.checkpoints.adapter import save_adapter
from foveal.models.lora import base_state, has_lora


def checkpoint_of(network: Mapping[str, Any]) -> str | None:
    """The checkpoint that a network's settings open; None: they put the network together from its parts."""
    if network["class_path"] not in ("foveal.models.load", "foveal.models.checkpoints.load.load"):
        return None
    folder: str = network["init_args"]["folder"]
    return folder


def save_trained(
    network: VisionLanguageModel,
    *,
    checkpoint: Path,
    adapter: Path,
    own_base: Path,
    base: str | None,
    state: Mapping[str, Tensor] | None = None,
) -> dict[str, Path]:
    """Write what was trained; with LoRA only that, and its base too if it is in no folder yet.

    Args:
        network: that was trained.
        checkpoint: folder for it as a whole, if it has no adapters.
        adapter: folder for its adapters, if it has some.
        own_base: folder for their base, if it is in none.
        base: the checkpoint that the training began with; None: the network was put together from parts.
        state: the weights by their names in `network`, where it holds only shards of them.

    Returns:
        The folders that were written, by what they are: `checkpoint`, or `adapter` and perhaps `base`.

    Raises:
        ValueError: if a folder holds something else.
    """
    if not has_lora(network.language_model):
        return {"checkpoint": save(network, checkpoint, state=state)}
    if base is not None:
        return {"adapter": save_adapter(network, adapter, base=base, state=state)}
    whole = network.state_dict() if state is None else state
    made = save(network, own_base, state=base_state(whole))
    return {"base": made, "adapter": save_adapter(network, adapter, base=made, state=state)}

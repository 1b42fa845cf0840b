"""Save a trained model: a checkpoint, or with LoRA an adapter folder and, if needed, its base."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from foveal.models import VisionLanguageModel, save
from foveal.models.checkpoints.adapter import is_adapter, named_base, save_adapter
from foveal.models.lora import base_state, has_lora


def checkpoint_of(network: Mapping[str, Any]) -> str | None:
    """The checkpoint that a network's settings open; None if they build the network from parts."""
    if network["class_path"] not in ("foveal.models.load", "foveal.models.checkpoints.load.load"):
        return None
    folder: str = network["init_args"]["folder"]
    return folder


def base_of_training(network: Mapping[str, Any]) -> str | None:
    """The base of the adapters that a training saves: the checkpoint that it starts from, or the base of that one.

    Args:
        network: a network's settings; None is returned if they build the network from parts.

    Raises:
        ValueError: if the checkpoint is a damaged folder of adapters.
    """
    folder = checkpoint_of(network)
    return named_base(folder) if folder is not None and is_adapter(folder) else folder


def save_trained(
    network: VisionLanguageModel,
    *,
    checkpoint: Path,
    adapter: Path,
    own_base: Path,
    base: str | None,
    state: Mapping[str, Tensor] | None = None,
) -> dict[str, Path]:
    """Write the trained model; with LoRA only the adapters, and the base if no folder has it yet.

    Args:
        network: the trained network.
        checkpoint: folder for the whole network, if it has no adapters.
        adapter: folder for its adapters, if it has any.
        own_base: folder for their base, if no folder has it yet.
        base: as `base_of_training` returns it; None if the network was built from parts.
        state: the weights by their names in `network`, if `network` holds only shards of them.

    Returns:
        The folders that were written, by content: `checkpoint`, or `adapter` and possibly `base`.

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

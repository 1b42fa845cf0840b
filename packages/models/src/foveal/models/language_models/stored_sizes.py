"""A language model's configuration and its weights, compared before any memory is taken."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from foveal.models.library_errors import told_of
from foveal.models.on_meta import built_on_meta

SHOWN = 3
LARGEST_RATIO = 2
"""Of weights that are described to those that are stored; names may differ, which the loading itself finds."""


def check_sizes(config: Any, stored: Mapping[str, Tensor], source: str) -> None:
    """Refuse a configuration that describes other shapes than the stored ones, or far more weights.

    Args:
        config: transformers' configuration of the model.
        stored: tensors by their names in the model; only shapes are looked at.
        source: named in errors.

    Raises:
        ValueError: naming tensors with both shapes, or some of those that are missing.
    """
    from transformers import AutoModelForCausalLM

    with told_of(source, "its config.json describes no language model that can be built"):
        model = built_on_meta(lambda: AutoModelForCausalLM.from_config(config, trust_remote_code=False), stored)
    expected = model.state_dict()
    misshapen = [
        f"{name} is {tuple(stored[name].shape)}, config.json says {tuple(tensor.shape)}"
        for name, tensor in sorted(expected.items())
        if name in stored and stored[name].shape != tensor.shape
    ]
    if misshapen:
        raise ValueError(f"{source}: {len(misshapen)} mismatched tensors: {'; '.join(misshapen[:SHOWN])}")
    described = sum(weight.numel() for weight in model.parameters())
    held = sum(tensor.numel() for tensor in stored.values())
    if described > LARGEST_RATIO * held:
        missing = sorted(expected.keys() - stored.keys())
        raise ValueError(
            f"{source}: config.json describes {described:,} weights, {held:,} are stored; {len(missing)} tensors are "
            f"missing, among them {missing[:SHOWN]}"
        )

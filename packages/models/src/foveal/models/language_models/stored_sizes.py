"""Compare a language model's configuration with its weights before any memory is allocated."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from foveal.models.language_models.causal import causal_class
from foveal.models.library_errors import told_of
from foveal.models.on_meta import built_on_meta

SHOWN = 3
LARGEST_RATIO = 2
"""Largest ratio of described to stored weights; differences in names are found when the weights are loaded."""


def check_sizes(config: Any, stored: Mapping[str, Tensor], source: str) -> None:
    """Refuse a configuration that describes shapes other than the stored ones, or far more weights.

    Args:
        config: transformers' configuration of the model.
        stored: tensors by their names in the model; only their shapes are read.
        source: folder or hub name, for errors.

    Raises:
        ValueError: if shapes differ, naming tensors with both shapes; if far more weights are described, naming some of
            the missing tensors; if no model can be built from `config`.
    """
    with told_of(source, "its config.json describes no language model that can be built"):
        model = built_on_meta(lambda: causal_class(config).from_config(config, trust_remote_code=False), stored)
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


def check_loaded(loading: Mapping[str, Any], source: str) -> None:
    """Refuse a model that transformers did not load completely.

    Args:
        loading: what transformers says about the loading.
        source: folder or hub name, for errors.

    Raises:
        ValueError: if tensors are missing, unexpected or of another shape, naming some.
    """
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading[fault]:
            names = sorted(str(name) for name in loading[fault])
            raise ValueError(f"{source}: {len(names)} {fault.replace('_keys', '')} tensors, among them {names[:5]}")

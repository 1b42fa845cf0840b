"""Compile the decoder layers of a language model for training."""

import os
import shutil
from collections.abc import Callable
from functools import partial, wraps
from inspect import unwrap
from types import MethodType
from typing import Any

import torch
from torch import nn

from foveal.models.language_models.injection import decoder_layers


def compile_layers(language_model: nn.Module) -> None:
    """Run the decoder layers through `torch.compile` while they are in training mode; once is enough.

    Layers are compiled one by one: they share one compiled function, and whatever is attached to them, such as the
    stacks of DeepStack or the hooks of FSDP, stays outside of it. So does a packed attention kernel, because it depends
    on the lengths of the sequences. The last layer stays as it is: compiled, it would not notice the hooks inside it
    that run its MLP only where logits are needed.

    Args:
        language_model: a causal language model of transformers; sharded and with adapters, if it will be.

    Raises:
        RuntimeError: if there is no C++ compiler.
        ValueError: if the layers cannot be found.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise RuntimeError(
            f"torch.compile needs a C++ compiler and there is no {compiler}: install it, name another one in the "
            "environment variable CXX, or do not compile the layers"
        )
    for layer in decoder_layers(language_model)[:-1]:
        if "forward" not in vars(layer):
            layer.forward = _in_training(layer)


def _in_training(layer: Any) -> Callable[..., Any]:
    """The layer's forward pass, compiled in training mode: answers grow token by token, each a new shape to compile."""
    plain = layer.forward
    # Without transformers' checkpointing around it: what torch's checkpoint calls is not compiled unless it already is.
    compiled = torch.compile(MethodType(unwrap(type(layer).forward), layer))

    @wraps(plain)
    def forward(*arguments: Any, **options: Any) -> Any:
        if not layer.training:
            return plain(*arguments, **options)
        if getattr(layer, "gradient_checkpointing", False):
            return layer._gradient_checkpointing_func(partial(compiled, **options), *arguments)
        return compiled(*arguments, **options)

    return forward

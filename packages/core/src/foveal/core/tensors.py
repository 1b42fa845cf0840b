"""Weights from safetensors files into modules, all of them or none."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

SHOWN = 5


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a folder with one file or with shards and their index.

    Args:
        path: FILE.safetensors, or a folder with `model.safetensors` or `model.safetensors.index.json`.

    Raises:
        ValueError: if there is no such file, it is damaged, or a shard is missing; pickled weights are refused.
    """
    source = Path(path)
    if source.is_dir():
        index, single = source / "model.safetensors.index.json", source / "model.safetensors"
        if index.is_file():
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            if missing := [shard for shard in shards if not (source / shard).is_file()]:
                raise ValueError(
                    f"{source}: the index names {len(shards)} files, {len(missing)} are missing: {missing}"
                )
            return {name: tensor for shard in shards for name, tensor in read_tensors(source / shard).items()}
        source = single
    if source.suffix in (".bin", ".pt", ".pth", ".ckpt"):
        raise ValueError(f"{source}: pickled weights can run code and are not read; convert them to safetensors")
    if not source.is_file():
        raise ValueError(f"there are no weights {source}")
    try:
        tensors: dict[str, Tensor] = load_file(source)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{source} is damaged or no safetensors file: {error}") from error
    return tensors


def load_exact(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy `tensors` into the parameters and buffers of `module`, in the module's dtype; nothing if anything is wrong.

    Raises:
        ValueError: if a tensor is missing, unexpected or of another shape; `source` and the names are in the message.
    """
    expected = module.state_dict()
    missing = sorted(set(expected) - set(tensors))
    unexpected = sorted(set(tensors) - set(expected))
    misshapen = [
        f"{name} is {tuple(tensors[name].shape)}, the model's {tuple(expected[name].shape)}"
        for name in sorted(set(expected) & set(tensors))
        if tensors[name].shape != expected[name].shape
    ]
    faults = [
        f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if faults:
        raise ValueError(f"{source} does not fit {type(module).__name__}; tensors " + "; ".join(faults))
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(tensors[name])

"""The tensors of a folder one by one, where not all of them fit into memory together."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from foveal.core import shards_of

Rename = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


class StoredTensors:
    """Names and shapes of a folder's tensors at once; iterating reads them, and never holds more than one.

    Args:
        folder: with `model.safetensors`, or with shards and `model.safetensors.index.json`.
        rename: from a tensor to those that it becomes under other names; one that becomes none is not read.

    Raises:
        ValueError: if there are no such files, or one is damaged or missing.
    """

    def __init__(self, folder: Path, rename: Rename = lambda tensors: tensors) -> None:
        self.rename = rename
        self.places: list[tuple[Path, str]] = []
        self.shapes: dict[str, Tensor] = {}
        for file in _files(folder):
            for name, shape in shapes_of(file).items():
                if renamed := rename({name: shape}):
                    self.places.append((file, name))
                    self.shapes |= renamed

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) in the order of the files; a tensor lives in its file: copy what is to be kept."""
        for file, name in self.places:
            # Opened anew for each: whatever was read of an open file counts as memory of this process.
            with safe_open(file, framework="pt") as stored:
                tensors = self.rename({name: stored.get_tensor(name)})
            yield from tensors.items()
            del tensors

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights: that of the first which is no integer."""
        return next((tensor.dtype for tensor in self.shapes.values() if tensor.is_floating_point()), torch.float32)


def shapes_of(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file on the meta device; none is kept.

    Raises:
        ValueError: if it is missing, damaged or no such file.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            return {name: stored.get_tensor(name).to("meta") for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is missing, damaged or no safetensors file: {error}") from error


def _files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    return shards_of(index)[1] if index.is_file() else [folder / "model.safetensors"]

"""The tensors of a checkpoint's files: names, kinds and shapes at once, values one at a time."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import reduce
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from foveal.core import check_named, files_of

Rename = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]
"""From stored tensors to a model's own; a tensor may become several, never several one."""


class StoredTensors:
    """Safetensors files, of which only the headers have been read.

    Args:
        path: folder with `model.safetensors`, or with shards and `model.safetensors.index.json`; or one file.

    Attributes:
        source: the path, for messages.
        described: name -> tensor on the meta device, of its kind and shape.
        shapes: name -> shape.

    Raises:
        ValueError: if there are no weights, a file is damaged, a shard or a tensor that the index names is missing, or
            weights are pickled.
    """

    def __init__(self, path: str | Path) -> None:
        self.source = str(path)
        self.described: dict[str, Tensor] = {}
        self._file_of: dict[str, Path] = {}
        named, files = files_of(path)
        for file in files:
            self._read_header(file)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self.described.items()}
        check_named(named, self.described, source=self.source)

    def stream(self, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """Those of `names`, file by file; none is kept. A tensor lives in its file: copy what is to stay."""
        for name, file in self._file_of.items():
            if name in names:
                # Opened anew for each: whatever was read of an open file counts as memory of this process.
                with safe_open(file, framework="pt") as opened:
                    tensor = opened.get_tensor(name)
                yield name, tensor
                del tensor

    def dtype(self, names: Collection[str]) -> torch.dtype:
        """The narrowest kind of number that holds all of `names`; float32 if none of them is a float."""
        kinds = {self.described[name].dtype for name in names if self.described[name].is_floating_point()}
        return reduce(torch.promote_types, sorted(kinds, key=str)) if kinds else torch.float32

    def _read_header(self, file: Path) -> None:
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 - it is no mapping
                    if name in self._file_of:
                        raise ValueError(f"{name} is in {self._file_of[name].name} too")
                    self.described[name], self._file_of[name] = opened.get_tensor(name).to("meta"), file
        except (SafetensorError, ValueError) as error:
            raise ValueError(f"{file} is damaged or no safetensors file: {error}") from error

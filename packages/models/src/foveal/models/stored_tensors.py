"""The tensors of a checkpoint's files: names, kinds and shapes at once, values one at a time."""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import reduce
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from foveal.core import shards_of
from foveal.core.tensors import PICKLED

Rename = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]
"""From stored tensors to a model's own; a tensor may become several, never several one."""
CONVERT = "pickled weights can run code and are not read; convert them first: python -m tools.convert"


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
        named, files = _files(Path(path))
        for file in files:
            self._read_header(file)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self.described.items()}
        if absent := sorted(set(named) - set(self.described)):
            raise ValueError(f"{path}: {len(absent)} tensors that the index names are in no file: {absent[:5]}")

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


def _files(path: Path) -> tuple[Mapping[str, str], list[Path]]:
    """The tensors that an index promises, and the files that hold them."""
    if path.is_dir():
        index, single = path / "model.safetensors.index.json", path / "model.safetensors"
        if index.is_file():
            return shards_of(index)
        if not single.is_file() and (pickled := sorted(p.name for p in path.iterdir() if p.suffix in PICKLED)):
            raise ValueError(f"{path} has no model.safetensors, only {', '.join(pickled)}: {CONVERT} {path} NEW_FOLDER")
        path = single
    if path.suffix in PICKLED:
        raise ValueError(f"{path}: {CONVERT} {path} {path.with_suffix('.safetensors').name}")
    if not path.is_file():
        raise ValueError(f"there are no weights {path}")
    return {}, [path]

"""Read weights from safetensors files, whole or one at a time, and load them into modules, all of them or none."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import copy
from functools import reduce
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from foveal.core.derived import Derived

SHOWN = 5
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
REFUSED = "pickled weights can run code and are not read; convert them first: python -m recipes.convert"
Rename = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]
"""Maps stored tensors to a model's own; one tensor may become several, but several never become one."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, or of a folder with one file or with shards and their index.

    Args:
        path: FILE.safetensors, or a folder with `model.safetensors` or `model.safetensors.index.json`.

    Raises:
        ValueError: if there is no such file, it is damaged, a shard or a tensor that the index names is missing, or the
            weights are pickled.
    """
    named, files = files_of(path)
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            tensors |= load_file(file)
        except (SafetensorError, ValueError) as error:
            raise ValueError(f"{file} is damaged or no safetensors file: {error}") from error
    check_named(named, tensors, source=str(path))
    return tensors


def files_of(path: str | Path) -> tuple[Mapping[str, str], list[Path]]:
    """The file of each tensor according to the index, if there is one, and the paths of all safetensors files.

    Args:
        path: as for `read_tensors`.

    Raises:
        ValueError: if there are no such files, only pickled ones, or they may not be read.
    """
    source = Path(path)
    if source.is_dir():
        index, single = source / "model.safetensors.index.json", source / "model.safetensors"
        if index.is_file():
            return shards_of(index)
        if not single.is_file() and (pickled := sorted(p.name for p in source.iterdir() if p.suffix in PICKLED)):
            raise ValueError(
                f"{source} has no model.safetensors, only {', '.join(pickled)}: {REFUSED} {source} NEW_FOLDER"
            )
        source = single
    if source.suffix in PICKLED:
        raise ValueError(f"{source}: {REFUSED} {source} {source.with_suffix('.safetensors').name}")
    if not source.is_file():
        raise ValueError(f"there are no weights at {source}")
    return {}, [_readable(source)]


def _readable(file: Path) -> Path:
    """The file; safetensors would say of one that may not be read that there is none."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    return file


def check_named(named: Mapping[str, str], tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Refuse files that lack a tensor named in their index.

    Raises:
        ValueError: naming the missing tensors.
    """
    if absent := sorted(set(named) - set(tensors)):
        raise ValueError(f"{source}: {len(absent)} tensors that the index names are in no file: {absent[:SHOWN]}")


def shards_of(index: Path) -> tuple[dict[str, str], list[Path]]:
    """The file of each tensor according to an index, and the paths of all these files.

    Raises:
        ValueError: if the index is damaged, or names a file that is missing or in another folder.
    """
    folder = index.parent
    try:
        shard_of: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(shard_of.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is damaged or not an index of shards ({type(error).__name__}: {error})") from error
    if outside := [shard for shard in shards if Path(shard).name != shard]:
        raise ValueError(f"{index}: shards must be in the folder of their index, not at {outside}")
    if missing := [shard for shard in shards if not (folder / shard).is_file()]:
        raise ValueError(f"{folder}: the index names {len(shards)} files, {len(missing)} are missing: {missing}")
    return shard_of, [_readable(folder / shard) for shard in shards]


class StoredTensors:
    """Safetensors files of which only the headers have been read.

    Args:
        path: folder with `model.safetensors`, or with shards and `model.safetensors.index.json`; or one file.

    Attributes:
        source: the path, for messages.
        described: name -> tensor on the meta device with the stored dtype and shape.
        shapes: name -> shape.

    Raises:
        ValueError: if there are no weights, a file is damaged, a shard or a tensor that the index names is missing, or
            the weights are pickled.
    """

    def __init__(self, path: str | Path) -> None:
        self.source = str(path)
        self.described: dict[str, Tensor] = {}
        self._file_of: dict[str, Path] = {}
        self._replaced: dict[str, Tensor] = {}
        self._derived: dict[str, Derived] = {}
        named, files = files_of(path)
        for file in files:
            self._read_header(file)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self.described.items()}
        check_named(named, self.described, source=self.source)

    def replaced_by(self, tensors: Mapping[str, Tensor]) -> "StoredTensors":
        """The same weights with `tensors` instead of, or in addition to, those of their names; these are in memory."""
        replaced = self._described_as(self.described | {name: tensor.to("meta") for name, tensor in tensors.items()})
        replaced._replaced = {**self._replaced, **tensors}
        replaced._file_of = {name: file for name, file in self._file_of.items() if name not in tensors}
        replaced._derived = {name: each for name, each in self._derived.items() if name not in tensors}
        return replaced

    def derived(self, made: Mapping[str, Derived]) -> "StoredTensors":
        """The same weights, where those of `made` are computed from stored ones whenever they are read."""
        parts = {part for each in made.values() for part in each.parts}
        left = {name: tensor for name, tensor in self.described.items() if name not in parts}
        changed = self._described_as(left | {name: each.like for name, each in made.items()})
        changed._derived = {**self._derived, **made}
        return changed

    def stream(self, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors of `names`, file by file, keeping none. They are backed by their file: copy any to keep."""
        made = {name: each for name, each in self._derived.items() if name in names}
        plain = {name for name in names if name in self.described and name not in made}
        for name in (*self._file_of, *self._replaced):
            if name in plain:
                yield name, self._stored(name)
        for name, each in made.items():
            # A copy: a tensor of a file is only there until the next one is read.
            yield name, each.compute({part: self._stored(part).clone() for part in each.parts})

    def _described_as(self, described: dict[str, Tensor]) -> "StoredTensors":
        changed = copy(self)
        changed.described, changed.shapes = described, {name: tuple(each.shape) for name, each in described.items()}
        return changed

    def _stored(self, name: str) -> Tensor:
        """A stored tensor, also one that others are computed from."""
        if name in self._replaced:
            return self._replaced[name]
        # Reopened for each tensor: what was read of an open file counts towards this process's memory.
        with safe_open(self._file_of[name], framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
        return tensor

    def dtype(self, names: Collection[str]) -> torch.dtype:
        """The narrowest dtype that holds all of `names`; float32 if none of them is a float."""
        kinds = {self.described[name].dtype for name in names if self.described[name].is_floating_point()}
        return reduce(torch.promote_types, sorted(kinds, key=str)) if kinds else torch.float32

    def _read_header(self, file: Path) -> None:
        try:
            with safe_open(file, framework="pt") as opened:
                found = {name: opened.get_tensor(name).to("meta") for name in opened.keys()}  # noqa: SIM118
        except (SafetensorError, ValueError) as error:
            raise ValueError(f"{file} is damaged or no safetensors file: {error}") from error
        for name, tensor in found.items():
            if name in self._file_of:
                raise ValueError(f"{file}: {name} is in {self._file_of[name].name} too")
            self.described[name], self._file_of[name] = tensor, file


def load_exact(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy `tensors` into the parameters and buffers of `module`, in its dtype; copy nothing if anything is wrong.

    Raises:
        ValueError: if a tensor is missing, unexpected or has another shape (the message has `source` and the names), or
            if the module is on the meta device, where nothing can be copied to.
    """
    expected = module.state_dict()
    if meta := sorted(name for name, tensor in expected.items() if tensor.is_meta):
        raise ValueError(
            f"{type(module).__name__} has no memory for {len(meta)} tensors, e.g. {meta[0]}: "
            f'call module.to_empty(device="cpu") before loading {source}'
        )
    check_fit(module, tensors, source=source)
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(tensors[name])


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str, may_miss: Collection[str] = ()) -> None:
    """Refuse tensors that do not match those of `module`; only names and shapes are compared.

    Args:
        module: any module, on the meta device too.
        tensors: by their names in the module.
        source: named in errors.
        may_miss: names that may be absent.

    Raises:
        ValueError: if a tensor is missing, unexpected or has another shape; the message has `source` and the names.
    """
    expected = module.state_dict()
    missing = sorted(set(expected) - set(tensors) - set(may_miss))
    unexpected = sorted(set(tensors) - set(expected))
    misshapen = [
        f"{name} is {tuple(tensors[name].shape)}, the model's is {tuple(expected[name].shape)}"
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

"""Convert pickled weights to safetensors under the same names; only tensors are unpickled, so no code can run.

A folder of adapters by peft or by LLaVA's own code becomes an adapter folder of ours, see `convert_adapter`.
"""

import argparse
import json
import pickle
import shutil
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from foveal.core import StoredTensors, shards_of, whole_file, whole_folder
from foveal.core.tensors import PICKLED
from recipes.command_line.console import calm, short_errors
from recipes.commands.source_files import STATE, Account, Others

INDEX = "pytorch_model.bin.index.json"
WRAPPERS = ("model", "state_dict")
"""Keys under which some files keep the tensors; everything else in them belongs to training."""


def read_pickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickled file.

    Raises:
        ValueError: if it is damaged, would run code, or holds anything but named tensors.
    """
    try:
        # Files from before torch 1.6 are not zip archives and cannot be memory-mapped.
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is damaged, or holds more than tensors and is not read: {error}") from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds {type(content).__name__}, not named tensors")
    if other := [name for name, value in content.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{path}: {len(other)} of {len(content)} entries are not tensors, among them {other[:3]}")
    return content


def convert_file(source: Path, target: Path) -> list[str]:
    """Write the tensors of `source` to `target` under the same names, and return the names.

    Raises:
        ValueError: if `target` exists or does not end in .safetensors, or as `read_pickled`.
    """
    if target.exists() or target.suffix != ".safetensors":
        raise ValueError(f"{target} exists, or is not a new NAME.safetensors")
    tensors = read_pickled(source)
    with whole_file(target) as partial:
        save_file(_apart(tensors), partial, metadata={"format": "pt"})
    return list(tensors)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, with copies of those that share memory or are not contiguous, which cannot be written as is.

    The others stay memory-mapped: a shard of 10 GB does not need 10 GB of memory.
    """
    users = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())
    return {
        name: tensor
        if tensor.is_contiguous()
        and users[tensor.untyped_storage().data_ptr()] == 1
        and tensor.untyped_storage().nbytes() == tensor.nbytes
        else tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def convert_folder(source: Path, target: Path) -> Account:
    """Copy the folder `source` to `target`, converting its pickled weights to safetensors shard by shard.

    Returns:
        The number of tensors, and what became of the other files.

    Raises:
        ValueError: if `target` exists, `source` has no pickled weights, a shard is missing or does not hold the tensors
            that the index lists, there are weights besides that are no copies of these, or as `read_pickled`.
    """
    if target.exists():
        raise ValueError(f"{target} exists: choose another folder")
    shards = _shards(source)
    others = Others.of(source, {*shards, INDEX})
    if there := [name for name in others.weights if name.endswith(".safetensors")]:
        raise ValueError(f"{source} has {there[0]}, which needs no conversion: open it, or move the pickled files away")
    with whole_folder(target) as partial:
        shard_of: dict[str, str] = {}
        for number, (shard, promised) in enumerate(shards.items()):
            name = "model.safetensors" if len(shards) == 1 else f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
            found = convert_file(source / shard, partial / name)
            if promised and (wrong := sorted(promised.symmetric_difference(found))):
                raise ValueError(f"{source / shard} and {INDEX} disagree about {len(wrong)} tensors: {wrong[:3]}")
            shard_of |= dict.fromkeys(found, name)
        if len(shards) > 1:
            size = sum(file.stat().st_size for file in partial.glob("*.safetensors"))
            index = {"metadata": {"total_size": size}, "weight_map": shard_of}
            (partial / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
        copies = dict.fromkeys(others.weights, "a copy of some of the tensors")
        for name in copies:
            _check_copy(source / name, StoredTensors(partial))
        for name in others.files:
            shutil.copy2(source / name, partial / name)
    return Account(len(shard_of), others.files, others.left_out | copies)


def _check_copy(file: Path, converted: StoredTensors) -> None:
    """Refuse weights beside those that were converted, unless they are the same.

    Raises:
        ValueError: naming tensors that are not among the converted ones, or have other values there.
    """
    tensors = read_pickled(file)
    there = converted.stream(set(tensors))
    same = {name for name, tensor in there if tensor.dtype == tensors[name].dtype and tensor.equal(tensors[name])}
    if other := sorted(tensors.keys() - same):
        raise ValueError(
            f"{file} holds {len(other)} tensors that the weights beside it lack, or have with other values, among them "
            f"{other[:3]}: convert it by itself, and move it away"
        )


def _shards(folder: Path) -> dict[str, set[str]]:
    """File -> names of its tensors according to the index; empty without an index."""
    index = folder / INDEX
    if index.is_file():
        shards: dict[str, set[str]] = {}
        for name, file in shards_of(index)[0].items():
            shards.setdefault(file, set()).add(name)
        return dict(sorted(shards.items()))
    if (folder / "pytorch_model.bin").is_file():
        return {"pytorch_model.bin": set()}
    found = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLED and not STATE.fullmatch(file.name))
    if len(found) != 1:
        raise ValueError(f"{folder} needs pytorch_model.bin or exactly one other pickled file, but has {found}")
    return {found[0]: set()}


def main(options: argparse.Namespace) -> None:
    """Convert, and print the number of tensors and what became of every file.

    Args:
        options: as `convert_options` returns them.

    Raises:
        SystemExit: with 1 for an input that cannot be converted.
    """
    with short_errors():
        if options.source.is_dir():
            if (options.source / "adapter_config.json").is_file():
                # Imported here: weights of other kinds are converted without the models.
                from recipes.commands.convert_adapter import convert_adapter

                calm()
                print(
                    convert_adapter(
                        options.source,
                        options.target,
                        base=None if options.base is None else str(options.base),
                        encoder=options.encoder,
                        allow=options.allow_import,
                    )
                )
                return
            if options.base is not None:
                raise ValueError(f"{options.source} has no adapter_config.json: only adapters have a base (--base)")
            account = convert_folder(options.source, options.target)
        elif options.source.is_file():
            account = Account(len(convert_file(options.source, options.target)))
        else:
            raise ValueError(f"there is no {options.source}")
    print(f"{options.target}: {account.tensors} tensors{account.files_said()}")

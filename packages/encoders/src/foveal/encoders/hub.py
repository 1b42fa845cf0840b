"""Find the folder, sizes and weights of published towers, on disk or on the hub."""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveal.core import KeyMap

HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
CONFIG = "config.json"
WEIGHTS = ["model*.safetensors", "model.safetensors.index.json"]
PICTURES = ["preprocessor_config.json", "processor_config.json"]
"""transformers' settings of how pictures become views."""


def only_shapes() -> bool:
    """Whether a tower is being built under `torch.device("meta")`: then its sizes are read, but no weights."""
    return torch.get_default_device().type == "meta"


def folder_of(name_or_folder: str) -> Path:
    """The folder itself, or the one a hub model of that name is fetched to; fetches only sizes if `only_shapes`.

    Raises:
        ValueError: if there is neither a folder nor a hub model of that name that can be fetched, or it has no
            safetensors; a name like `runs/other` is not looked up on the hub if there is a folder `runs`.
        ImportError: if a hub name is given and huggingface_hub is not installed.
    """
    folder = Path(name_or_folder)
    return folder if folder.is_dir() else _fetch(name_or_folder)


def vision_config(folder: Path, kinds: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Read the sizes of an image tower from its config.json in transformers' layout.

    Args:
        folder: the folder with the file.
        kinds: accepted `model_type` -> name of the tower in messages.
        defaults: default values, which transformers leaves out of the file.

    Raises:
        ValueError: if the file is missing, damaged or describes something else.
    """
    path, name = folder / CONFIG, next(iter(kinds.values()))
    if not path.is_file():
        raise ValueError(f"{path.parent} has no config.json: give a folder in transformers' layout")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        given: dict[str, Any] = config.get("vision_config", config)
        kind = given.get("model_type", next(iter(kinds)))
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged or not a configuration ({error})") from error
    if kind not in kinds:
        raise ValueError(f"{path} describes a {kind}, not a {name}")
    return {**defaults, **given}


def tower_weights(
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    tables: Mapping[str, KeyMap],
    *,
    kind: str,
    prefixes: tuple[str, ...] = ("",),
    ignored: tuple[str, ...] = (),
    source: str,
) -> dict[str, Tensor]:
    """Rename a tower's published weights to our names, leaving out what the tower does not build.

    Args:
        model: the tower.
        tensors: under published names.
        tables: a weight name that identifies a naming scheme -> its key map.
        kind: the tower's name in messages.
        prefixes: possible prefixes of the tower's names; the first that fits is used.
        ignored: prefixes of other names that may be in the same file.
        source: named in errors.

    Raises:
        ValueError: if no naming scheme is recognised, or a name is unknown.
    """
    table, prefix, tower = _recognised(tensors, tables, prefixes, f"{source}: no {kind} image tower")
    if rest := [name for name in tensors if not name.startswith(prefix) and not name.startswith(ignored)]:
        raise ValueError(f"{source}: {len(rest)} tensors of unknown name, among them {sorted(rest)[:5]}")
    expected = model.state_dict()
    depth = getattr(model, "depth", 0)
    built = len(getattr(model, "blocks", ()))
    weights = {}
    for name, tensor in table.read(tower, source=source).items():
        if re.match(r"final_norm\.", name) and name not in expected:
            continue
        block = re.match(r"blocks\.(\d+)\.", name)
        if block and built <= int(block[1]) < depth:
            continue
        if name in expected and tensor.numel() == expected[name].numel() and _leading_ones(tensor, expected[name]):
            tensor = tensor.reshape(expected[name].shape)
        weights[name] = tensor
    return weights


def _recognised(
    tensors: Mapping[str, Tensor], tables: Mapping[str, KeyMap], prefixes: tuple[str, ...], complaint: str
) -> tuple[KeyMap, str, dict[str, Tensor]]:
    for prefix in prefixes:
        for mark, table in tables.items():
            if prefix + mark in tensors:
                tower = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
                return table, prefix, tower
    raise ValueError(f"{complaint} among {len(tensors)} tensors such as {sorted(tensors)[:3]}")


def _leading_ones(tensor: Tensor, wanted: Tensor) -> bool:
    """Whether the shapes differ only by leading dimensions of size 1, such as timm's batch dimension."""
    extra = tensor.ndim - wanted.ndim
    return extra > 0 and set(tensor.shape[:extra]) == {1} and tensor.shape[extra:] == wanted.shape


def _fetch(name: str) -> Path:
    if not HUB_NAME.fullmatch(name):
        raise ValueError(f"there is no folder {name}, and a hub name looks like openai/clip-vit-large-patch14-336")
    parent = Path(name).parent
    if "/" in name and parent.is_dir():
        near = get_close_matches(Path(name).name, [path.name for path in parent.iterdir()], n=1)
        raise ValueError(
            f"there is no folder {name}" + (f", but there is {parent / near[0]}" if near else "") + f"; {parent} is a "
            "folder here, so the name is not looked up on the hub"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            f"{name} is not a folder here, and fetching it as a hub name needs huggingface_hub: "
            "pip install 'foveal-encoders[hub]'"
        ) from error
    try:
        folder = Path(
            snapshot_download(name, allow_patterns=[CONFIG] if only_shapes() else [CONFIG, *PICTURES, *WEIGHTS])
        )
    except (OSError, ValueError) as error:  # its own errors derive from these
        raise ValueError(
            f"{name} is not a folder here, and could not be fetched as a hub name: {error} "
            "(check the name; offline, and with HF_HUB_OFFLINE set, a folder or an earlier download is needed)"
        ) from error
    if not only_shapes() and not list(folder.glob("model*.safetensors")):
        raise ValueError(
            f"{name} publishes no safetensors, and pickled weights are not read: convert them and give their folder"
        )
    return folder

"""A hash that identifies a checkpoint's weights."""

import hashlib
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from foveal.encoders.hub import folder_of

SHARD = re.compile(r"-\d+-of-\d+$")
"""The end of a shard's name."""


def weights_hash(name_or_folder: str | Path) -> str:
    """sha256 over all weights of a checkpoint: their sorted names, dtypes, shapes and bytes, one tensor at a time.

    It does not depend on how a part is sharded, or on other files in the folder.

    Raises:
        ValueError: if there is no such folder, file or hub name, or it has no safetensors.
    """
    path = Path(name_or_folder)
    root = path.parent if path.is_file() else folder_of(str(name_or_folder))
    files = [path] if path.is_file() else sorted(root.rglob("*.safetensors"))
    digest = hashlib.sha256()
    with ExitStack() as opened:
        where: dict[str, Any] = {}
        for file in files:
            try:
                stored = opened.enter_context(safe_open(file, framework="pt"))
            except SafetensorError as error:
                raise ValueError(f"{file} is damaged or not a safetensors file: {error}") from error
            part = SHARD.sub("", file.relative_to(root).with_suffix("").as_posix())
            where |= {f"{part}/{name}": (stored, name) for name in stored.keys()}  # noqa: SIM118  # not a mapping
        if not where:
            raise ValueError(f"{name_or_folder} has no safetensors")
        for key in sorted(where):
            stored, name = where[key]
            tensor: Tensor = stored.get_tensor(name)
            digest.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

"""Refuse models whose files name code, which transformers would import from the folder or fetch from the hub."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

AUTO_MAP = "auto_map"
"""The key under which config.json and tokenizer_config.json name classes in Python files next to them."""
IMPLEMENTATION = re.compile(r"_implementation(_internal)?$")
"""End of the keys that choose kernels, for attention and for experts."""
KERNEL = re.compile(r"\w+")
"""A kernel that comes with transformers; those of the hub have a slash, as in kernels-community/flash-attn2."""


def config_without_code(name_or_folder: str) -> Any:
    """transformers' configuration of a model, if it is one of transformers' own and names no code.

    Args:
        name_or_folder: local folder in transformers' layout, or hub name.

    Raises:
        ValueError: if it needs code from its folder or from the hub, or is a folder of adapters.
        OSError: if there is no such name.
    """
    from transformers import AutoConfig, PreTrainedConfig

    _refuse_base(name_or_folder)
    _refuse_kernels(PreTrainedConfig.get_config_dict(name_or_folder)[0], name_or_folder)
    with no_code_of(name_or_folder):
        config = AutoConfig.from_pretrained(name_or_folder, trust_remote_code=False)
    # The library has a class of its own, and a checkpoint written from it should not say otherwise.
    vars(config).pop(AUTO_MAP, None)
    return config


def refuse_auto_map(folder: Path) -> None:
    """Refuse a folder of a checkpoint that names code in Python files; those that `save` writes never do.

    Raises:
        ValueError: naming the file.
    """
    for path in (folder / "config.json", folder / "tokenizer_config.json"):
        try:
            described = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # missing or damaged, which its reader tells
        if isinstance(described, dict) and AUTO_MAP in described:
            raise ValueError(
                f"{path} names code under {AUTO_MAP}, and no code from files is run: remove the entry, which "
                "checkpoints do not need"
            )


@contextmanager
def no_code_of(name_or_folder: str) -> Iterator[None]:
    """Say in our words that a model needs code from its folder; transformers would advise to run it.

    Raises:
        ValueError: instead of transformers' own.
    """
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(
            f"{name_or_folder}: its files name code of their own under {AUTO_MAP}, and no code from files is run: "
            "models and tokenizers must be among those of transformers"
        ) from error


def _refuse_kernels(described: Mapping[str, Any], source: str) -> None:
    """Refuse a config.json that chooses kernels from the hub: they are code.

    Args:
        described: its content.
        source: named in errors.

    Raises:
        ValueError: naming the key.
    """
    for key, value in described.items():
        if isinstance(value, Mapping):
            _refuse_kernels(value, source)
        if not IMPLEMENTATION.search(key):
            continue
        values: list[Any] = list(value.values()) if isinstance(value, Mapping) else [value]
        for each in values:
            if isinstance(each, str) and not KERNEL.fullmatch(each):
                raise ValueError(
                    f"{source}: config.json has {key} {each!r}, which is code from the hub and not fetched: remove the "
                    "entry"
                )


def _refuse_base(name_or_folder: str) -> None:
    """Refuse a folder of adapters by peft, of which transformers would fetch the base.

    Raises:
        ValueError: naming the file.
    """
    if (path := Path(name_or_folder) / "adapter_config.json").is_file():
        raise ValueError(
            f"{path}: these are adapters, and the base that the file names is not fetched: merge them into it first"
        )

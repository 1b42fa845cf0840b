"""A model as a folder: one safetensors file or folder per part, and a page that says how to put them together.

config.yaml                 encoder, connector and plan (class and arguments), template, system text, longest sequence
encoder.safetensors
connector.safetensors
language_model/             in transformers' layout: other tools open it
tokenizer/
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedTokenizerBase

from foveal.connectors import Connector
from foveal.core import build, describe, load_exact, read_tensors
from foveal.encoders import Encoder
from foveal.models.language_models import DType, pretrained_language_model, pretrained_tokenizer
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts import TemplateName
from foveal.models.views import ViewPlan

FORMAT = 1


def save(model: VisionLanguageModel, folder: str | Path) -> Path:
    """Write `model` into `folder`, which afterwards is either complete or as it was.

    Raises:
        ValueError: if `folder` exists and holds something else than a checkpoint.
    """
    target = Path(folder)
    if target.exists() and any(target.iterdir()) and not (target / "config.yaml").exists():
        raise ValueError(f"{target} exists and is no checkpoint: choose another folder")
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _write_part(model.encoder, partial / "encoder.safetensors")
    _write_part(model.connector, partial / "connector.safetensors")
    model.language_model.save_pretrained(partial / "language_model")
    model.processor.tokenizer.save_pretrained(partial / "tokenizer")
    described = {
        "format": FORMAT,
        "encoder": describe(model.encoder),
        "connector": describe(model.connector),
        "plan": describe(model.processor.plan),
        "template": model.processor.template,
        "system": model.processor.system,
        "max_length": model.processor.max_length,
    }
    (partial / "config.yaml").write_text(yaml.safe_dump(described, sort_keys=False), encoding="utf-8")
    _replace(partial, target)
    return target


def load(
    folder: str | Path,
    *,
    plan: ViewPlan | None = None,
    template: TemplateName | None = None,
    max_length: int | None = None,
    dtype: DType = "auto",
) -> VisionLanguageModel:
    """The model of a checkpoint folder, on the CPU, in evaluation mode.

    Args:
        folder: written by `save`.
        plan: another plan than the checkpoint's, as between the stages of a training.
        template: another prompt template than the checkpoint's, with its own system text.
        max_length: another longest sequence, in tokens.
        dtype: of all weights; `auto`: as they were saved.

    Raises:
        ValueError: if the folder is no checkpoint, or a part misses a tensor, has one too many or one of another shape.
    """
    source = Path(folder)
    config = _read_config(source)
    encoder, connector = (_read_part(source, config, part) for part in ("encoder", "connector"))
    if not isinstance(encoder, Encoder) or not isinstance(connector, Connector):
        raise ValueError(f"{source / 'config.yaml'}: 'encoder' or 'connector' describes something else")
    tokenizer: PreTrainedTokenizerBase = pretrained_tokenizer(_existing(source / "tokenizer"))
    model = VisionLanguageModel(
        encoder,
        lambda _in_width, _out_width: connector,
        pretrained_language_model(_existing(source / "language_model"), dtype=dtype),
        tokenizer,
        plan if plan is not None else build(config["plan"]),
        template=template if template is not None else config["template"],
        system=config["system"] if template is None else None,
        max_length=max_length if max_length is not None else config["max_length"],
    )
    if dtype != "auto":
        model.to(getattr(torch, dtype))
    return model.eval()


def _write_part(part: nn.Module, path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in part.state_dict().items()}, path)


def _read_part(source: Path, config: dict[str, Any], part: str) -> nn.Module:
    path = source / f"{part}.safetensors"
    tensors = read_tensors(path)
    module: Any = build(config[part])
    kinds = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(kinds) == 1:
        module.to(kinds.pop())
    load_exact(module, tensors, source=str(path))
    result: nn.Module = module
    return result


def _read_config(source: Path) -> dict[str, Any]:
    path = source / "config.yaml"
    if not path.is_file():
        raise ValueError(
            f"{source} is no checkpoint: it has no config.yaml (a folder that `save` or `recipes.fit` wrote has)"
        )
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    expected = {"format", "encoder", "connector", "plan", "template", "system", "max_length"}
    if not isinstance(config, dict) or set(config) != expected:
        found = sorted(config) if isinstance(config, dict) else type(config).__name__
        raise ValueError(f"{path}: expected the keys {sorted(expected)}, found {found}")
    if config["format"] != FORMAT:
        raise ValueError(f"{path}: format {config['format']}, this version reads format {FORMAT}")
    return config


def _existing(folder: Path) -> str:
    if not folder.is_dir():
        raise ValueError(f"the checkpoint is incomplete: there is no folder {folder}")
    return str(folder)


def _replace(partial: Path, target: Path) -> None:
    """Put `partial` where `target` is; folders cannot be swapped in one step, so the old one steps aside first."""
    old = target.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(partial, target)
    shutil.rmtree(old, ignore_errors=True)

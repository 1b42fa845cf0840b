"""A model as a folder: one safetensors file or folder per part, and a page that says how to put them together.

config.yaml                 encoder, connector, plan, merge (class and arguments), template, system text, max_length
encoder.safetensors
connector.safetensors
merge.safetensors           only of models that merge the views' tokens
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
from foveal.models.merge import Merge
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
    if model.merge is not None:
        _write_part(model.merge, partial / "merge.safetensors")
    model.language_model.save_pretrained(partial / "language_model")
    model.processor.tokenizer.save_pretrained(partial / "tokenizer")
    described = {
        "format": FORMAT,
        "encoder": describe(model.encoder),
        "connector": describe(model.connector),
        "plan": describe(model.processor.plan),
        **({} if model.merge is None else {"merge": describe(model.merge)}),
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
    merge = _read_part(source, config, "merge") if "merge" in config else None
    if (
        not isinstance(encoder, Encoder)
        or not isinstance(connector, Connector)
        or not (merge is None or isinstance(merge, Merge))
    ):
        raise ValueError(f"{source / 'config.yaml'}: 'encoder', 'connector' or 'merge' describes something else")
    tokenizer: PreTrainedTokenizerBase = pretrained_tokenizer(_existing(source / "tokenizer"))
    model = VisionLanguageModel(
        encoder,
        lambda _in_width, _out_width: connector,
        pretrained_language_model(_existing(source / "language_model"), dtype=dtype),
        tokenizer,
        plan if plan is not None else build(config["plan"]),
        merge=None if merge is None else lambda _width: merge,
        template=template if template is not None else config["template"],
        system=config["system"] if template is None else None,
        max_length=max_length if max_length is not None else config["max_length"],
    )
    if dtype != "auto":
        model.to(getattr(torch, dtype))
    return model.eval()


def load_encoder(folder: str | Path) -> Encoder:
    """The encoder of a checkpoint folder alone: a vision vocabulary that one model has learnt, for another (Vary).

    Raises:
        ValueError: as `load`.
    """
    source = Path(folder)
    encoder = _read_part(source, _read_config(source), "encoder")
    if not isinstance(encoder, Encoder):
        raise ValueError(f"{source / 'config.yaml'}: 'encoder' describes something else")
    return encoder.eval()


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
    if not isinstance(config, dict) or set(config) - {"merge"} != expected:
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

"""A model as other tools open it: LLaVA and LLaVA-NeXT in transformers' layout, other models in parts."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from foveal.models.batch import Sample
from foveal.models.constants import IMAGE_TOKEN_ID
from foveal.models.lora import has_lora
from foveal.models.model import VisionLanguageModel
from foveal.models.pixels import normalised
from foveal.models.prompts import Turn
from foveal.models.published.to_library import (
    IMAGE,
    clip_of,
    clip_tensors,
    no_equivalent,
    processor_of,
    to_library,
    vision_config,
)

LARGEST_DIFFERENCE = 1e-4
"""Of logits in float32, between the model and what transformers makes of the exported folder."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        kind: transformers' class; None: the parts apart.
        reason: why transformers has no class for the model; empty if it has.
        difference: the largest one of logits after reloading; None for parts.
    """

    kind: str | None
    reason: str = ""
    difference: float | None = None


def export(model: VisionLanguageModel, folder: str | Path) -> Exported:
    """Write `model` for other tools into `folder`, which afterwards is complete or not there.

    A LLaVA or LLaVA-NeXT becomes transformers' `LlavaForConditionalGeneration` or `LlavaNextForConditionalGeneration`,
    which is read again by transformers and must answer a prompt with a picture alike. Where the vocabulary has no
    `<image>` it gets one. Blocks of the tower behind the layer that is used do not exist here, so that this layer
    becomes its last one.

    Of other models, language model and tokenizer are written in transformers' layout, the tower too if it is a CLIP,
    and the rest under our names.

    Args:
        model: in evaluation mode; while logits are compared it is in float32, and afterwards as before.
        folder: not there yet, or empty.

    Raises:
        ValueError: if `folder` holds something, if the model has adapters, or if the logits differ by more than
            `LARGEST_DIFFERENCE`.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} exists and is not empty: choose another folder")
    if has_lora(model.language_model):
        raise ValueError("the model has adapters: merge them first, as in python -m tools.merge ADAPTER MERGED")
    reason = no_equivalent(model)
    with _complete_or_not_there(target) as partial:
        if reason:
            _write_parts(model, partial)
            return Exported(None, reason)
        theirs, tokenizer = to_library(model)
        kind = type(theirs)
        theirs.save_pretrained(partial)
        processor_of(model, tokenizer).save_pretrained(partial)
        del theirs
        difference = _difference(model, kind, partial, tokenizer.convert_tokens_to_ids(IMAGE))
        if not difference <= LARGEST_DIFFERENCE:
            raise ValueError(
                f"{kind.__name__} gives other logits than the model, by up to {difference:.2g} in float32 (at most "
                f"{LARGEST_DIFFERENCE:.0e} is allowed): nothing was written to {target}"
            )
    return Exported(kind.__name__, difference=difference)


def _write_parts(model: VisionLanguageModel, folder: Path) -> None:
    model.language_model.save_pretrained(folder / "language_model")
    model.processor.tokenizer.save_pretrained(folder / "tokenizer")
    tower = clip_of(model.encoder)
    if tower is None:
        _write(model.encoder.state_dict(), folder / "encoder.safetensors")
    else:
        (folder / "encoder").mkdir()
        described = {"architectures": ["CLIPVisionModel"], **vision_config(tower)}
        (folder / "encoder" / "config.json").write_text(json.dumps(described, indent=2), encoding="utf-8")
        tensors = {f"vision_model.{name}": tensor for name, tensor in clip_tensors(tower).items()}
        _write(tensors, folder / "encoder" / "model.safetensors")
    _write(model.connector.state_dict(), folder / "connector.safetensors")
    if model.merge is not None and model.merge.state_dict():
        _write(model.merge.state_dict(), folder / "merge.safetensors")


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


@torch.no_grad()
def _difference(model: VisionLanguageModel, kind: Any, folder: Path, image_id: int) -> float:
    """Largest difference of the logits for a prompt with a picture, over our vocabulary, in float32."""
    picture = _probe(model)
    sample = model.processor.encode_prompt([picture], [Turn("user", "<image>\nWhat is it?")])
    theirs, loading = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if faults := {name: found for name, found in loading.items() if name.endswith("_keys") and found}:
        raise ValueError(f"transformers does not read the exported folder completely: {faults}")
    with _in_float32(model):
        logits = model(sample.input_ids[None].to(model.device), sample.views, sizes=[picture.size])
        expected = _their_logits(theirs.eval().to(model.device), model, sample, picture.size, image_id)
    return float((logits - expected[..., : logits.shape[-1]]).abs().max())


def _their_logits(
    theirs: Any, model: VisionLanguageModel, sample: Sample, size: tuple[int, int], image_id: int
) -> Tensor:
    pixels = torch.stack(normalised(sample.views, model.encoder))
    ids = sample.input_ids.where(sample.input_ids != IMAGE_TOKEN_ID, image_id)[None].to(model.device)
    inputs = {"pixel_values": pixels}
    if model.merge is not None:
        inputs = {"pixel_values": pixels[None], "image_sizes": torch.tensor([size[::-1]])}
    logits: Tensor = theirs(input_ids=ids, **inputs).logits
    return logits


def _probe(model: VisionLanguageModel) -> Image.Image:
    """Noise, wider than high, so that views are cut and places cannot be confused."""
    side: int = model.processor.plan.views(1, 1)[0][0]
    noise = np.random.default_rng(0).integers(0, 256, (side, 2 * side + side // 3, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@contextmanager
def _in_float32(model: nn.Module) -> Iterator[None]:
    """Every weight as float32, and afterwards what it was: no bit is lost on the way."""
    kept = [(tensor, tensor.dtype) for tensor in (*model.parameters(), *model.buffers())]
    try:
        for tensor, kind in kept:
            if kind.is_floating_point:
                tensor.data = tensor.data.float()
        yield
    finally:
        for tensor, kind in kept:
            tensor.data = tensor.data.to(kind)


@contextmanager
def _complete_or_not_there(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place at the end, and is removed if anything goes wrong."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if target.exists():
            target.rmdir()
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise

"""Export models for other tools: LLaVAs and InternVL in transformers' layout, others in parts."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from foveal.core import whole_folder
from foveal.models.lora import has_lora
from foveal.models.model import VisionLanguageModel
from foveal.models.published import internvl_export
from foveal.models.published.library_processors import save_processor
from foveal.models.published.library_towers import library_tower, tower_tensors, vision_config
from foveal.models.published.to_transformers import IMAGE, no_equivalent, to_library
from foveal.models.published.verify import ask, difference

LARGEST_DIFFERENCE = 1e-4
"""Largest allowed difference of float32 logits between the model and transformers reading the exported folder."""


class Writer(NamedTuple):
    """How models of one family become transformers' class.

    Attributes:
        no_equivalent: says why transformers has no class that computes the same; empty if it has one.
        to_library: the transformers model, and a tokenizer with its tokens.
        save_processor: writes the tokenizer and the settings of transformers' processor.
        image: transformers' token for a visual token.
        rename: tensors of the class in memory -> the same under the names of published folders.
    """

    no_equivalent: Callable[[VisionLanguageModel], str]
    to_library: Callable[[VisionLanguageModel], tuple[Any, PreTrainedTokenizerBase]]
    save_processor: Callable[[VisionLanguageModel, PreTrainedTokenizerBase, Path], None]
    image: str
    rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict


def with_wrapper(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of published folders.

    transformers 5 leaves `vision_model` out of the tower's names, and reads both; its version 4, and tools that were
    written for published folders, look for the names with it.
    """
    flat = re.compile(r"vision_tower\.(?!vision_model\.)")
    return {flat.sub("vision_tower.vision_model.", name, count=1): tensor for name, tensor in tensors.items()}


LLAVA = Writer(no_equivalent, to_library, save_processor, IMAGE, with_wrapper)
INTERNVL = Writer(
    internvl_export.no_equivalent, internvl_export.to_library, internvl_export.save_processor, internvl_export.IMAGE
)


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        kind: transformers' class; None: separate parts were written.
        reason: why transformers has no class for the model; empty if it has one.
        difference: largest difference of logits after reloading; None for separate parts.
    """

    kind: str | None
    reason: str = ""
    difference: float | None = None


def export(model: VisionLanguageModel, folder: str | Path) -> Exported:
    """Write `model` for other tools into `folder`, which afterwards is complete or does not exist.

    A LLaVA, LLaVA-NeXT or LLaVA-OneVision becomes transformers' `LlavaForConditionalGeneration`,
    `LlavaNextForConditionalGeneration` or `LlavaOnevisionForConditionalGeneration`, a model with InternVL's parts its
    `InternVLForConditionalGeneration`; transformers reads it again and must give the same logits for a prompt with a
    picture. A vocabulary without `<image>` gets one, and `<video>` for LLaVA-OneVision; for InternVL it gets the tokens
    of its processor, and the folder a chat template with the system text. Blocks of the tower after the layer that is
    used do not exist here, so this layer becomes the exported tower's last one.

    For other models, language model and tokenizer are written in transformers' layout, and so is the tower if it is a
    CLIP or SigLIP; the rest is written under our names.

    Args:
        model: in evaluation mode; it is float32 while logits are computed, and afterwards as before.
        folder: new or empty.

    Raises:
        ValueError: if `folder` holds something, if the model has adapters, or if the logits differ by more than
            `LARGEST_DIFFERENCE`.
    """
    return export_opened(lambda: model, folder)


def export_opened(open_model: Callable[[], VisionLanguageModel], folder: str | Path) -> Exported:
    """Export the model that `open_model` returns, and free it before transformers reads what was written.

    Memory for one of the two is then enough, if nothing else holds the model.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} exists and is not empty: choose another folder")
    model = open_model()
    if has_lora(model.language_model):
        raise ValueError("the model has adapters: merge them first, as in python -m recipes.merge ADAPTER MERGED")
    with whole_folder(target) as partial:
        writer = INTERNVL if internvl_export.has_its_parts(model) else LLAVA
        if reason := writer.no_equivalent(model):
            _write_parts(model, partial)
            return Exported(None, reason)
        asked = ask(model)
        theirs, tokenizer = writer.to_library(model)
        kind = type(theirs)
        theirs.save_pretrained(partial, state_dict=writer.rename(theirs.state_dict()))
        writer.save_processor(model, tokenizer, partial)
        del theirs, model
        found = difference(asked, kind, partial, tokenizer.convert_tokens_to_ids(writer.image))
        if not found <= LARGEST_DIFFERENCE:
            raise ValueError(
                f"the logits of {kind.__name__} differ from the model's by up to {found:.2g} in float32 (at most "
                f"{LARGEST_DIFFERENCE:.0e} is allowed): nothing was written to {target}"
            )
    return Exported(kind.__name__, difference=found)


def _write_parts(model: VisionLanguageModel, folder: Path) -> None:
    model.language_model.save_pretrained(folder / "language_model")
    model.processor.tokenizer.save_pretrained(folder / "tokenizer")
    tower = library_tower(model.encoder)
    if tower is None:
        _write(model.encoder.state_dict(), folder / "encoder.safetensors")
    else:
        (folder / "encoder").mkdir()
        kind = "CLIPVisionModel" if tower.use_class_token else "SiglipVisionModel"
        described = {"architectures": [kind], **vision_config(tower)}
        (folder / "encoder" / "config.json").write_text(json.dumps(described, indent=2), encoding="utf-8")
        tensors = {f"vision_model.{name}": tensor for name, tensor in tower_tensors(tower).items()}
        _write(tensors, folder / "encoder" / "model.safetensors")
    _write(model.connector.state_dict(), folder / "connector.safetensors")
    if model.merge is not None and model.merge.state_dict():
        _write(model.merge.state_dict(), folder / "merge.safetensors")


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})

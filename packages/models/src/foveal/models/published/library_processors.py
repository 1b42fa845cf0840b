"""transformers' processors, which make the views and placeholders of a model."""

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from foveal.models.model import VisionLanguageModel
from foveal.models.published.image_processors import ONEVISION, square_views
from foveal.models.published.library_towers import library_tower, strategy
from foveal.models.published.to_transformers import IMAGE, VIDEO, aspect_ratio, pinpoints
from foveal.models.views.onevision import OneVisionPlan
from foveal.models.views.square import PadToSquare
from foveal.models.views.stretch import StretchToSquare


def save_processor(model: VisionLanguageModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write transformers' processor that makes the views and placeholders of `model`, with the tokenizer.

    Args:
        model: a model for which `no_equivalent` returns an empty string.
        tokenizer: with `<image>`.
        folder: the exported folder.
    """
    if isinstance(model.processor.plan, OneVisionPlan):
        # Written as a file: transformers makes such a processor only where torchvision is installed.
        tokenizer.save_pretrained(folder)
        (folder / "processor_config.json").write_text(json.dumps(_onevision(model), indent=2), encoding="utf-8")
    else:
        _processor(model, tokenizer).save_pretrained(folder)


def _processor(model: VisionLanguageModel, tokenizer: PreTrainedTokenizerBase) -> Any:
    from transformers import LlavaNextProcessor, LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    tower: Any = library_tower(model.encoder)
    side, plan = tower.image_size, model.processor.plan
    colours = {"image_mean": list(tower.image_mean), "image_std": list(tower.image_std)}
    square = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    tokens: dict[str, Any] = {
        "tokenizer": tokenizer,
        "patch_size": tower.patch_size,
        "image_token": IMAGE,
        "num_additional_image_tokens": int(tower.use_class_token),
        "vision_feature_select_strategy": strategy(tower),
    }
    pixels: Any
    if model.merge is not None:
        pixels = LlavaNextImageProcessorPil(image_grid_pinpoints=pinpoints(model), **square, **colours)
        return LlavaNextProcessor(image_processor=pixels, **tokens)
    if isinstance(plan, StretchToSquare):
        pixels = SiglipImageProcessorPil(size={"height": side, "width": side}, **colours)
    else:
        pixels = LlavaImageProcessorPil(do_pad=isinstance(plan, PadToSquare), **square, **colours)
    return LlavaProcessor(image_processor=pixels, **tokens)


def _onevision(model: VisionLanguageModel) -> dict[str, Any]:
    """The content of processor_config.json for LLaVA-OneVision."""
    tower: Any = library_tower(model.encoder)
    pixels = square_views(tower)
    return {
        "processor_class": "LlavaOnevisionProcessor",
        "image_processor": {
            **pixels,
            "image_processor_type": ONEVISION,
            "do_pad": True,
            "image_grid_pinpoints": pinpoints(model),
        },
        "video_processor": {
            **pixels,
            "video_processor_type": "LlavaOnevisionVideoProcessor",
            "do_sample_frames": False,
        },
        "image_token": IMAGE,
        "video_token": VIDEO,
        "num_image_tokens": tower.native_grid.cells,
        "vision_feature_select_strategy": strategy(tower),
        "vision_aspect_ratio": aspect_ratio(model),
    }

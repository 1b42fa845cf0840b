"""Convert a model to the transformers class that computes the same, if there is one."""

import copy
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from foveal.connectors import MlpProjector
from foveal.connectors.mlp import TRANSFORMERS as MLP
from foveal.models.merges.anyres import AnyResMerge
from foveal.models.merges.onevision import OneVisionMerge
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.tokenize import add_special_tokens
from foveal.models.published.library_language_models import filled, library_language_model, odd_language_model
from foveal.models.published.library_towers import library_tower, strategy, tower_tensors, vision_config
from foveal.models.published.towers import fill_of
from foveal.models.views.anyres import AnyResPlan
from foveal.models.views.onevision import OneVisionPlan
from foveal.models.views.square import CropToSquare, PadToSquare
from foveal.models.views.stretch import StretchToSquare

IMAGE, VIDEO = "<image>", "<video>"
VIEWS = (
    (PadToSquare, type(None)),
    (CropToSquare, type(None)),
    (StretchToSquare, type(None)),
    (AnyResPlan, AnyResMerge),
    (OneVisionPlan, OneVisionMerge),
)
"""Plans and merges of which transformers has the same."""
FRAME_STRIDE = 2


def no_equivalent(model: VisionLanguageModel) -> str:
    """Why transformers has no class that computes the same as `model`; empty if it has one."""
    tower, connector, merge = library_tower(model.encoder), model.connector, model.merge
    plan: Any = model.processor.plan
    if tower is None:
        return f"the encoder, a {type(model.encoder).__name__}, is not a CLIP or SigLIP of which one layer is used"
    if type(connector) is not MlpProjector or connector.depth != 2 or connector.residual_blocks:
        return f"the connector, a {type(connector).__name__}, is not an MLP of two layers"
    if (type(plan), type(merge)) not in VIEWS:
        of = type(plan).__name__ + ("" if merge is None else f" and {type(merge).__name__}")
        return f"its views are those of {of}"
    if plan.size != tower.image_size:
        return f"its views have {plan.size} pixels a side, the tower was made for {tower.image_size}"
    if type(merge) is AnyResMerge and (merge.kind != "spatial_unpad" or merge.max_tiles is not None):
        return f"its tiles are merged {merge.kind} with max_tiles {merge.max_tiles}"
    if isinstance(merge, OneVisionMerge) and merge.frame_stride not in (FRAME_STRIDE, None):
        return (
            f"its frames are shrunk by {merge.frame_stride}, those of transformers' LLaVA-OneVision by {FRAME_STRIDE}"
        )
    if isinstance(merge, OneVisionMerge) and tower.use_class_token:
        return "its tower is a CLIP, that of transformers' LLaVA-OneVision a SigLIP"
    fill = fill_of(tower.image_mean)
    if isinstance(plan, OneVisionPlan) and tuple(plan.fill) != fill:
        return f"several pictures are padded with {tuple(plan.fill)}, in transformers with the mean colour {fill}"
    return odd_language_model(model.language_model)


def to_library(model: VisionLanguageModel) -> tuple[Any, PreTrainedTokenizerBase]:
    """The transformers model that computes the same, sharing memory with `model`, and a tokenizer with `<image>`.

    Args:
        model: a model for which `no_equivalent` returns an empty string.
    """
    from transformers import (
        AutoConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
    )

    tower: Any = library_tower(model.encoder)
    tokenizer, one_vision = copy.deepcopy(model.processor.tokenizer), isinstance(model.merge, OneVisionMerge)
    add_special_tokens((IMAGE, VIDEO) if one_vision else (IMAGE,), tokenizer)
    language_model, text = library_language_model(model.language_model, len(tokenizer))
    described = vision_config(tower)
    settings = {
        "vision_config": AutoConfig.for_model(described.pop("model_type"), **described),
        "text_config": text,
        "image_token_index": tokenizer.convert_tokens_to_ids(IMAGE),
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": strategy(tower),
        "tie_word_embeddings": text.tie_word_embeddings,
        "pad_token_id": tokenizer.pad_token_id,
    }
    tensors = {
        **language_model,
        **{f"model.vision_tower.{name}": tensor for name, tensor in tower_tensors(tower).items()},
        **{f"model.multi_modal_projector.{n}": t for n, t in MLP.write(model.connector.state_dict()).items()},
    }
    built: Any
    with torch.device("meta"):
        if model.merge is None:
            length = model.connector.num_tokens(tower.native_grid)
            built = LlavaForConditionalGeneration(LlavaConfig(image_seq_length=length, **settings))
        elif one_vision:
            video, aspect = tokenizer.convert_tokens_to_ids(VIDEO), aspect_ratio(model)
            settings |= {"video_token_index": video, "vision_aspect_ratio": aspect}
            config = LlavaOnevisionConfig(image_grid_pinpoints=pinpoints(model), **settings)
            built = LlavaOnevisionForConditionalGeneration(config)
        else:
            length = model.connector.num_tokens(tower.native_grid)
            settings |= {"image_seq_length": length, "image_grid_pinpoints": pinpoints(model)}
            built = LlavaNextForConditionalGeneration(LlavaNextConfig(**settings))
    if model.merge is not None:
        tensors["model.image_newline"] = model.merge.state_dict()["newline"]
    return filled(built, tensors, model.language_model), tokenizer


def pinpoints(model: VisionLanguageModel) -> list[list[int]]:
    """The canvases as (height, width) in pixels, in their order, as transformers reads them."""
    plan: Any = model.processor.plan
    swapped = plan.tie_order == "width_first"
    return [[plan.size * side for side in (pair[::-1] if swapped else pair)] for pair in plan.candidates]


def aspect_ratio(model: VisionLanguageModel) -> str:
    """transformers' `vision_aspect_ratio`. It always has a limit: here the largest canvas, if a merge has none."""
    plan: Any = model.processor.plan
    merge: Any = model.merge
    return f"anyres_max_{merge.max_tiles or max(first * second for first, second in plan.candidates)}"

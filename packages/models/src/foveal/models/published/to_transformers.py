"""Convert a model to the transformers class that computes the same, if there is one."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from foveal.connectors import MlpProjector
from foveal.connectors.mlp import TRANSFORMERS as MLP
from foveal.models.merges.anyres import AnyResMerge
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.tokenize import add_special_tokens
from foveal.models.published.library_towers import clip_of, clip_tensors, vision_config
from foveal.models.views.anyres import AnyResPlan
from foveal.models.views.square import CropToSquare, PadToSquare

IMAGE = "<image>"
MULTIPLE = 64
"""Token tables that have to grow are rounded up to multiples of this, as in the published folders."""


def no_equivalent(model: VisionLanguageModel) -> str:
    """Why transformers has no class that computes the same as `model`; empty if it has one."""
    processor, tower, connector, merge = model.processor, clip_of(model.encoder), model.connector, model.merge
    plan: Any = processor.plan
    if tower is None:
        return f"the encoder, a {type(model.encoder).__name__}, is not a CLIP of which one layer is used"
    if type(connector) is not MlpProjector or connector.depth != 2 or connector.residual_blocks:
        return f"the connector, a {type(connector).__name__}, is not an MLP of two layers"
    pair = type(plan), type(merge)
    if pair not in ((PadToSquare, type(None)), (CropToSquare, type(None)), (AnyResPlan, AnyResMerge)):
        of = type(plan).__name__ + ("" if merge is None else f" and {type(merge).__name__}")
        return f"its views are those of {of}"
    if plan.size != tower.image_size:
        return f"its views have {plan.size} pixels a side, the tower was made for {tower.image_size}"
    if isinstance(merge, AnyResMerge) and (merge.kind != "spatial_unpad" or merge.max_tiles is not None):
        return f"its tiles are merged {merge.kind} with max_tiles {merge.max_tiles}"
    text = model.language_model.config
    if getattr(text, "logits_scaling", 1) != 1 or getattr(text, "final_logit_softcapping", None):
        return f"the language model, a {text.model_type}, scales its logits, which a LLaVA of transformers does not"
    weights = model.language_model.state_dict()
    if odd := sorted(name for name in weights if not name.startswith(("model.", "lm_head."))):
        return f"the language model has tensors such as {odd[0]} (merge adapters first)"
    if "model.embed_tokens.weight" not in weights:
        return (
            f"the language model, an {type(model.language_model).__name__}, has its embeddings elsewhere than a LLaMA"
        )
    if any(not tensor.is_floating_point() for tensor in weights.values()):
        return "the language model is quantised"
    return ""


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
    )

    tower: Any = clip_of(model.encoder)
    tokenizer = copy.deepcopy(model.processor.tokenizer)
    add_special_tokens((IMAGE,), tokenizer)
    language_model, rows = _language_model(model.language_model, len(tokenizer))
    text = copy.deepcopy(model.language_model.config)
    text.vocab_size = rows
    described = vision_config(tower)
    settings = {
        "vision_config": AutoConfig.for_model(described.pop("model_type"), **described),
        "text_config": text,
        "image_token_index": tokenizer.convert_tokens_to_ids(IMAGE),
        "image_seq_length": model.connector.num_tokens(tower.native_grid),
        "projector_hidden_act": "gelu",
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full" if tower.keep_class_token else "default",
        "tie_word_embeddings": text.tie_word_embeddings,
        "pad_token_id": tokenizer.pad_token_id,
    }
    tensors = {
        **language_model,
        **{f"model.vision_tower.{name}": tensor for name, tensor in clip_tensors(tower).items()},
        **{f"model.multi_modal_projector.{n}": t for n, t in MLP.write(model.connector.state_dict()).items()},
    }
    built: Any
    with torch.device("meta"):
        if model.merge is None:
            built = LlavaForConditionalGeneration(LlavaConfig(**settings))
        else:
            config = LlavaNextConfig(image_grid_pinpoints=pinpoints(model), **settings)
            built = LlavaNextForConditionalGeneration(config)
            tensors["model.image_newline"] = model.merge.state_dict()["newline"]
    built.load_state_dict(tensors, strict=True, assign=True)
    built.tie_weights()
    built.config.dtype = model.language_model.get_input_embeddings().weight.dtype
    return built.eval(), tokenizer


def processor_of(model: VisionLanguageModel, tokenizer: PreTrainedTokenizerBase) -> Any:
    """transformers' processor that makes the views and placeholders of `model`."""
    from transformers import LlavaNextProcessor, LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    tower: Any = clip_of(model.encoder)
    side = tower.image_size
    pixels: dict[str, Any] = {
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        "image_mean": list(tower.image_mean),
        "image_std": list(tower.image_std),
    }
    tokens: dict[str, Any] = {
        "tokenizer": tokenizer,
        "patch_size": tower.patch_size,
        "image_token": IMAGE,
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": "full" if tower.keep_class_token else "default",
    }
    if model.merge is None:
        is_padded = isinstance(model.processor.plan, PadToSquare)
        return LlavaProcessor(image_processor=LlavaImageProcessorPil(do_pad=is_padded, **pixels), **tokens)
    image_processor = LlavaNextImageProcessorPil(image_grid_pinpoints=pinpoints(model), **pixels)
    return LlavaNextProcessor(image_processor=image_processor, **tokens)


def pinpoints(model: VisionLanguageModel) -> list[list[int]]:
    """The canvases as (height, width) in pixels, in their order, as transformers reads them."""
    plan: Any = model.processor.plan
    swapped = plan.tie_order == "width_first"
    return [[plan.size * side for side in (pair[::-1] if swapped else pair)] for pair in plan.candidates]


def _language_model(language_model: nn.Module, tokens: int) -> tuple[dict[str, Tensor], int]:
    """Its tensors under transformers' LLaVA names, with at least `tokens` rows for tokens; and the number of rows."""
    model: Any = language_model
    tables = {table.weight.data_ptr() for table in (model.get_input_embeddings(), model.get_output_embeddings())}
    rows = len(model.get_input_embeddings().weight)
    wanted = rows if tokens <= rows else -(-tokens // MULTIPLE) * MULTIPLE
    renamed, grown = {}, dict[int, Tensor]()
    for name, tensor in language_model.state_dict().items():
        place = tensor.data_ptr()
        if place in tables and wanted > rows:
            # Tied tables stay tied.
            tensor = grown.setdefault(place, _longer(tensor, wanted))
        renamed[name.replace("model.", "model.language_model.", 1) if name.startswith("model.") else name] = tensor
    return renamed, wanted


def _longer(table: Tensor, rows: int) -> Tensor:
    """The table with `rows` rows; new rows are the mean of the existing ones."""
    mean = table.mean(dim=0, dtype=torch.float32).to(table.dtype)
    return torch.cat([table, mean.expand(rows - len(table), -1)])

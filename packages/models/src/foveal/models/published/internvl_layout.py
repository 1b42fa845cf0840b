"""Checkpoints of InternVL 2.5 to 3.5: transformers' `internvl`, and the layout of its own code (`internvl_chat`)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from foveal.connectors import PixelShuffle
from foveal.connectors.shuffle import INTERNVL, TRANSFORMERS
from foveal.core import StoredTensors
from foveal.encoders import VisionTransformer, intern_vit, intern_vit_weights
from foveal.models.prompts.chat import prompt_segments
from foveal.models.prompts.template_texts import TemplateName
from foveal.models.prompts.templates import Turn
from foveal.models.published.decoders import config_of
from foveal.models.published.image_processors import GOT
from foveal.models.published.preprocessing import preprocessing_of
from foveal.models.published.recipe import IMAGE_ID_FIELDS, Draft, Prompt, Reading, refuse_encoder
from foveal.models.published.tensor_names import INTERNVL as TABLE
from foveal.models.published.tensor_names import divided, of_library
from foveal.models.views.tiles import DynamicTilesPlan

LIBRARY, CHAT = "internvl", "internvl_chat"
KINDS = (LIBRARY, CHAT)
START, END, CONTEXT = "<img>", "</img>", "<IMG_CONTEXT>"
LANGUAGE_MODELS = ("qwen2", "qwen3", "llama")
"""transformers' `model_type` of the language models that are read."""
CHAT_DEFAULTS = {"ps_version": "v1", "use_thumbnail": False}
"""What InternVL's own code takes for these settings if `config.json` does not have them."""
DOWNSAMPLINGS = (0.5, 1.0, 0.25)
"""Known values of `downsample_ratio`."""
TEMPLATE = "internvl2_5"
"""The name of our template `internvl` in InternVL's own code."""


def is_internvl(config: Mapping[str, Any], weights: StoredTensors) -> bool:
    """Whether a folder holds an InternVL, in either layout."""
    return config.get("model_type") in KINDS


def draft(config: Mapping[str, Any], weights: StoredTensors, encoder: str | None) -> Draft:
    """Draft the model of a folder.

    Args:
        config: the folder's `config.json`.
        weights: the folder's tensors.
        encoder: refused if given, see `refuse_encoder`.

    Raises:
        ValueError: if the folder describes something that cannot be built.
    """
    source = weights.source
    refuse_encoder(encoder, source=source)
    is_library = config["model_type"] == LIBRARY
    _check(config, source)
    names = divided(weights.shapes, of_library(weights.shapes) if is_library else TABLE, source=source)
    if not names.of("encoder"):
        raise ValueError(f"{source}: there is no image tower among the tensors, which an InternVL always has")
    language_model = _language_model(config, names.of("language_model").values(), source)
    layer = config.get("vision_feature_layer" if is_library else "select_layer", -1)
    with torch.device("meta"):
        tower = intern_vit(source, layers=(layer,))
        ratio = round(1 / config.get("downsample_ratio", 0.5))
        connector = PixelShuffle(tower.width, language_model.hidden_size, ratio=ratio)
    names.ignore("encoder", _unread(names.of("encoder").values(), tower))
    return Draft(
        family=language_model.model_type,
        language_model=language_model,
        encoder=tower,
        connector=connector,
        readings=(
            Reading("encoder", tower, partial(intern_vit_weights, model=tower)),
            Reading("connector", connector, (TRANSFORMERS if is_library else INTERNVL).read),
        ),
        names=names,
        plan=_library_plan(Path(source), tower) if is_library else _original_plan(config, tower),
        prompt=_prompt if is_library else ("internvl", config.get("system_message")),
        tokens=(START, END),
        token_fields=dict.fromkeys(IMAGE_ID_FIELDS, CONTEXT) if is_library else {},
        max_length=language_model.max_position_embeddings,
    )


def _check(config: Mapping[str, Any], source: str) -> None:
    """Refuse settings that would change the numbers."""
    known: dict[str, tuple[Any, ...]] = {"downsample_ratio": DOWNSAMPLINGS}
    config = config if config["model_type"] == LIBRARY else CHAT_DEFAULTS | dict(config)
    if config["model_type"] == LIBRARY:
        known |= {"projector_hidden_act": ("gelu",), "vision_feature_select_strategy": ("default",)}
    else:
        known |= {
            "ps_version": ("v2",),
            "pad2square": (False,),
            "use_backbone_lora": (0,),
            "use_llm_lora": (0,),
            "template": (TEMPLATE,),
            "use_thumbnail": (True,) if config.get("dynamic_image_size") else (True, False),
        }
    for setting, values in known.items():
        if config.get(setting, values[0]) not in values:
            raise ValueError(
                f"{source}: {setting} is {config[setting]!r}, which cannot be read: "
                f"known is {' or '.join(repr(value) for value in values)}"
            )
    layer = config.get("vision_feature_layer", config.get("select_layer", -1))
    if not isinstance(layer, int):
        raise ValueError(f"{source}: vision_feature_layer is {layer}, several layers cannot be read")


def _language_model(config: Mapping[str, Any], stored: Iterable[str], source: str) -> Any:
    """transformers' configuration of the language model."""
    is_library = config["model_type"] == LIBRARY
    key = "text_config" if is_library else "llm_config"
    described = config.get(key)
    if not isinstance(described, Mapping):
        raise ValueError(f"{source}: config.json describes no language model ({key})")
    family = described.get("model_type", LANGUAGE_MODELS[0])
    if family not in LANGUAGE_MODELS:
        remedy = "" if is_library else "; if the model is also published in transformers' layout (NAME-hf), take that"
        raise ValueError(
            f"{source}: an InternVL with a language model of kind {family!r} cannot be read, known are "
            f"{', '.join(LANGUAGE_MODELS)}{remedy}"
        )
    language_model = config_of(family, described)
    # In transformers' layout the whole says whether the output layer is tied, and by default it is; a layer of its own
    # among the tensors wins.
    ties = config.get("tie_word_embeddings", True) if is_library else language_model.tie_word_embeddings
    language_model.tie_word_embeddings = ties and "lm_head.weight" not in stored
    return language_model


def _prompt(tokenizer: PreTrainedTokenizerBase) -> Prompt:
    """ChatML with the system text of the tokenizer's chat template, which has none in the published folders.

    If the chat template is not ChatML, it is used itself.
    """
    if not tokenizer.chat_template:
        return "internvl", ""
    talk = [Turn("user", "?"), Turn("assistant", "Yes."), Turn("user", "Sure?")]
    shown = _text(talk, "chat", tokenizer)
    found = re.match(r"<\|im_start\|>system\n(.*?)<\|im_end\|>\n", shown, re.DOTALL)
    system = found[1] if found else ""
    return ("internvl", system) if shown == _text(talk, "internvl", tokenizer, system) else ("chat", None)


def _text(talk: Sequence[Turn], template: TemplateName, tokenizer: PreTrainedTokenizerBase, system: str = "") -> str:
    return "".join(segment.text for segment in prompt_segments(talk, template, tokenizer, system=system))


def _library_plan(folder: Path, tower: VisionTransformer) -> DynamicTilesPlan:
    """The plan that the folder's settings of pictures describe; also gives the tower their mean and deviation."""
    settings = preprocessing_of(folder, (GOT,))
    if settings is None:
        return _tiles(tower.image_size, 1, 12)
    # transformers' processor of InternVL cuts tiles, whatever the file says.
    settings = replace(settings, settings={**settings.settings, "crop_to_patches": True})
    tower.image_mean, tower.image_std = settings.statistics()
    settings.check_side(tower.image_size)
    return _tiles(tower.image_size, *settings.tiles())


def _original_plan(config: Mapping[str, Any], tower: VisionTransformer) -> DynamicTilesPlan:
    """The plan that `config.json` describes; like its own code, without `preprocessor_config.json`."""
    size = config.get("force_image_size") or tower.image_size
    if not config.get("dynamic_image_size"):
        return _tiles(size, 1, 1)
    return _tiles(size, config.get("min_dynamic_patch", 1), config.get("max_dynamic_patch", 6))


def _tiles(size: int, fewest: int, most: int) -> DynamicTilesPlan:
    return DynamicTilesPlan(size, most, fewest, start=START, end=END)


def _unread(names: Iterable[str], tower: VisionTransformer) -> dict[str, str]:
    """name -> reason, for the tensors that `tower` does not need."""
    reasons = {}
    for name in names:
        block = re.match(r"encoder\.layers?\.(\d+)\.", name)
        if name == "embeddings.mask_token":
            reasons[name] = "a token that hides patches in pre-training"
        elif name.startswith("layernorm.") and tower.final_norm is None:
            reasons[name] = "a norm after the layer that is used"
        elif block and len(tower.blocks) <= int(block[1]) < tower.depth:
            reasons[name] = "a block after the layer that is used"
    return reasons

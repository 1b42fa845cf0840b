"""Checkpoints in the layout of transformers' LLaVA and LLaVA-NeXT: `vision_config` and `text_config`."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from foveal.connectors import Connector, MlpProjector
from foveal.core import StoredTensors
from foveal.encoders import VisionTransformer, clip_vit, clip_weights
from foveal.encoders.hub import only_shapes
from foveal.models.merges.anyres import AnyResMerge
from foveal.models.published import siglip_towers, vip_llava
from foveal.models.published.canvases import canvases
from foveal.models.published.decoders import config_of
from foveal.models.published.image_processors import CLIP, LLAVA, LLAVA_NEXT, SIGLIP
from foveal.models.published.joined_layers import projector_of_layers
from foveal.models.published.preprocessing import Preprocessing, preprocessing_of
from foveal.models.published.recipe import (
    IMAGE_ID_FIELDS,
    Draft,
    Reading,
    check_described,
    check_known,
    of_connector,
    of_merge,
)
from foveal.models.published.tensor_names import Names, divided, of_library
from foveal.models.published.towers import fill_of, unread_of_clip
from foveal.models.views.anyres import DEFAULT_CANDIDATES, AnyResPlan
from foveal.models.views.plan import ViewPlan
from foveal.models.views.square import PadToSquare

logger = logging.getLogger(__name__)

VIP = "vipllava"
KINDS = ("llava", "llava_next", VIP)


def is_library(config: Mapping[str, Any], weights: StoredTensors) -> bool:
    """Whether a folder has this layout."""
    return config.get("model_type") in KINDS and any("multi_modal_projector." in name for name in weights.shapes)


def draft(config: Mapping[str, Any], weights: StoredTensors, encoder: str | None) -> Draft:
    """Draft the model of a folder.

    Args:
        config: the folder's `config.json`.
        weights: the folder's tensors.
        encoder: folder of the image tower, if its sizes differ from those in `config`.

    Raises:
        ValueError: if the folder describes something that cannot be built, or has no image tower.
    """
    names, language_model = described(config, weights)
    source = weights.source
    tower, reading = tower_of(config, names, encoder, source)
    with torch.device("meta"):
        connector, of_projector = _connector(config, tower, language_model.hidden_size)
        has_tiles = config["model_type"] == "llava_next"
        merge = AnyResMerge(language_model.hidden_size, rounded=True) if has_tiles else None
    return Draft(
        family=language_model.model_type,
        language_model=language_model,
        encoder=tower,
        connector=connector,
        merge=merge,
        readings=(reading, of_projector, of_merge(merge)),
        names=names,
        prompt=vip_llava.PROMPT if config["model_type"] == VIP else None,
        plan=_plan(config, tower, with_tiles=merge is not None, source=source),
        token_fields=dict.fromkeys(IMAGE_ID_FIELDS, "<image>"),
        max_length=language_model.max_position_embeddings,
    )


def described(config: Mapping[str, Any], weights: StoredTensors) -> tuple[Names, Any]:
    """A folder's tensors, divided into parts, and its language model's configuration.

    Raises:
        ValueError: if the folder describes something that cannot be built, or has no image tower.
    """
    source = weights.source
    check_described(config, source=source)
    names = divided(weights.shapes, of_library(weights.shapes), source=source)
    if not names.of("encoder"):
        raise ValueError(f"{source}: there is no image tower among the tensors, which this layout always has")
    check_known(config, {"projector_hidden_act": "gelu", "multimodal_projector_bias": True}, source=source)
    language_model = config_of(config["text_config"].get("model_type", "llama"), config["text_config"])
    if config.get("tie_word_embeddings"):
        # transformers ties the output layer if either of the two says so.
        language_model.tie_word_embeddings = True
    return names, language_model


def _layers(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The tower's layers that the projector reads."""
    layers = config.get("vision_feature_layer")
    if layers is None:
        # Of ViP-LLaVA the setting had another name before transformers 5.
        layers = config.get("vision_feature_layers", vip_llava.LAYERS) if config["model_type"] == VIP else -2
    return (layers,) if isinstance(layers, int) else tuple(layers)


def _connector(config: Mapping[str, Any], tower: VisionTransformer, width: int) -> tuple[Connector, Reading]:
    """The projector, and how it is filled."""
    if config["model_type"] == VIP:
        return projector_of_layers(tower.widths, width, norm_eps=config.get("projector_layernorm_eps", 1e-5))
    if len(tower.widths) > 1:
        return projector_of_layers(tower.widths, width, norm_eps=None)
    connector = MlpProjector(tower.width, width, prefix_tokens=tower.prefix_tokens)
    return connector, of_connector(connector)


def tower_of(
    config: Mapping[str, Any], names: Names, encoder: str | None, source: str
) -> tuple[VisionTransformer, Reading]:
    """The image tower, on the meta device, and how it is filled.

    Args:
        config: the folder's `config.json`, with `vision_feature_layer` and `vision_feature_select_strategy`.
        names: the folder's tensors; those that are not read are removed from the encoder's.
        encoder: folder of the image tower, if its sizes differ from those in `config`.
        source: the folder.

    Raises:
        ValueError: if its features are selected in a way that is not known.
    """
    layers, strategy = _layers(config), config.get("vision_feature_select_strategy", "default")
    if strategy not in ("default", "full"):
        raise ValueError(f"{source}: vision_feature_select_strategy is {strategy!r}, expected default or full")
    if siglip_towers.is_siglip(source, names.of("encoder").values()):
        return siglip_towers.of_library(source, layers, strategy, names, encoder)
    if strategy == "full" and len(layers) > 1:
        raise ValueError(
            f"{source}: vision_feature_select_strategy is full for {len(layers)} layers of a CLIP, whose class tokens "
            "cannot be joined: only default can be read"
        )
    with torch.device("meta"):
        tower = clip_vit(encoder or source, layers=layers, keep_class_token=strategy == "full")
    names.ignore("encoder", unread_of_clip(names.of("encoder").values(), tower))
    return tower, Reading("encoder", tower, partial(clip_weights, model=tower))


def _plan(config: Mapping[str, Any], tower: VisionTransformer, *, with_tiles: bool, source: str) -> ViewPlan:
    """The plan that the folder's settings of pictures describe; also gives the tower their mean and deviation.

    Without such settings: LLaVA's own, which pads.
    """
    size, kinds = tower.image_size, (LLAVA_NEXT,) if with_tiles else (CLIP, LLAVA, SIGLIP)
    settings = preprocessing_of(Path(source), kinds)
    plan: ViewPlan = PadToSquare(size, fill=fill_of(tower.image_mean))
    if settings is not None:
        tower.image_mean, tower.image_std = settings.statistics()
    if with_tiles:
        default = [[size * first, size * second] for first, second in DEFAULT_CANDIDATES]
        pinpoints = pinpoints_of(config, settings) or default
        if settings is not None:
            settings.check_tiles(size)
        # This layout reads the same list of canvases as (height, width), the original code as (width, height).
        plan = AnyResPlan(size, canvases(pinpoints, size, source=source), tie_order="height_first")
    elif settings is not None:
        plan = settings.square(size)
    if not only_shapes():
        why = (
            "as LLaVA's own code, since no file says otherwise" if settings is None else f"as {settings.path.name} says"
        )
        logger.info("%s: views are cut by %s(%d), %s", source, type(plan).__name__, size, why)
    return plan


def pinpoints_of(config: Mapping[str, Any], settings: Preprocessing | None) -> Any:
    """The list of canvases in `config.json` and in the settings of pictures; None if neither has one.

    Raises:
        ValueError: if the two differ.
    """
    stated, cut = config.get("image_grid_pinpoints"), None if settings is None else settings.pinpoints
    if settings is not None and stated and cut and cut != stated:
        raise ValueError(
            f"{settings.path}: image_grid_pinpoints is {cut}, in config.json it is {stated}: pictures would be cut "
            "for other canvases than the model reads"
        )
    return stated or cut

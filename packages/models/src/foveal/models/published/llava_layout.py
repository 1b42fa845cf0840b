"""Checkpoints of LLaVA's own code and its relatives: LLaVA, LLaVA-NeXT, DeepStack-L, LLaVA-UHD, MMFuser.

Their `config.json` is the language model's with additional fields `mm_...`; the tensors identify the connector.
"""

import logging
import re
from collections.abc import Mapping
from functools import partial
from math import isqrt
from typing import Any

import torch

from foveal.connectors import Connector, PerceiverResampler, SpatialResampler
from foveal.core import StoredTensors
from foveal.encoders import VisionTransformer, clip_vit, clip_weights
from foveal.models.merges.anyres import AnyResMerge
from foveal.models.merges.deepstack import DeepStackHdMerge, DeepStackMerge
from foveal.models.merges.merge import Merge
from foveal.models.merges.onevision import OneVisionMerge
from foveal.models.published import siglip_towers, vip_llava
from foveal.models.published.canvases import canvases
from foveal.models.published.decoders import config_of, longest
from foveal.models.published.projectors import projector_of
from foveal.models.published.recipe import Draft, Reading, of_connector, of_merge
from foveal.models.published.tensor_names import ORIGINAL, Names, divided
from foveal.models.published.towers import fill_of, openai_clip, unread_of_clip
from foveal.models.views.anyres import AnyResPlan
from foveal.models.views.deepstack import DeepStackHdPlan, DeepStackPlan
from foveal.models.views.marked import END, START, MarkedPlan
from foveal.models.views.onevision import OneVisionPlan
from foveal.models.views.plan import ViewPlan
from foveal.models.views.square import CropToSquare, PadToSquare
from foveal.models.views.stretch import StretchToSquare
from foveal.models.views.uhd import UhdPlan

logger = logging.getLogger(__name__)
FAMILIES = {
    "llava": "llama",
    "llava_llama": "llama",
    "llava_mistral": "mistral",
    "llava_qwen": "qwen2",
    "deepstack_llama": "llama",
    "deepstack_phi": "phi3",
}
"""`model_type` -> transformers' name of the language model; transformers itself uses `llava` for another layout."""

REFUSED = {
    "s2": "views of several scales (S2)",
    "mm_resampler_type": "a resampler before the projector",
    "deepstack_args_for_ablation": "an ablation of DeepStack's",
    "twoviews_unshare": "two encoders",
}
"""Fields that, if set, describe a model that cannot be built from its checkpoint here."""
TILED = {"highres": "views of several resolutions", "crop_split": "overlapping crops"}
"""Values of `image_aspect_ratio` in LLaVA-NeXT's code (llava/mm_utils.py) whose views are not known here."""
IDENTITY = "identity"
"""The `mm_projector_type` without weights."""
PATCH_MARK = "<im_patch>"
OPENAI = re.compile(r"openai/clip-vit-[\w-]+")
RELEASED_SLICES = 7
"""LLaVA-UHD's release cuts up to 7 slices, its paper up to 6; no configuration says so."""


def is_original(config: Mapping[str, Any], weights: StoredTensors) -> bool:
    """Whether a folder has this layout."""
    found = [any(name.startswith(part) for name in weights.shapes) for part in ("model.mm_projector.", "model.layers.")]
    found[0] |= config.get("mm_projector_type") == IDENTITY
    return "mm_vision_tower" in config and all(found)


def draft(config: Mapping[str, Any], weights: StoredTensors, encoder: str | None) -> Draft:
    """Draft the model of a folder.

    Args:
        config: the folder's `config.json`.
        weights: the folder's tensors.
        encoder: folder or hub name of the image tower, replacing the name in the configuration.

    Raises:
        ValueError: if the folder describes something that cannot be built.
    """
    source, family = weights.source, family_of(config, weights.source)
    names = divided(weights.shapes, ORIGINAL, source=source)
    language_model = config_of(family, config)
    tower, readings = tower_of(config, names, weights, encoder)
    shapes = names.inside("connector", weights.shapes)
    width = tower.widths[0] if len(tower.widths) == 1 else tower.widths
    with torch.device("meta"):
        connector = projector_of(
            shapes,
            width,
            language_model.hidden_size,
            prefix_tokens=tower.prefix_tokens,
            kind=config.get("mm_projector_type"),
            source=source,
        )
        merge = _merge(config, tower, language_model.hidden_size, source)
    return Draft(
        family=family,
        language_model=language_model,
        encoder=tower,
        connector=connector,
        merge=merge,
        readings=(*readings, of_connector(connector), of_merge(merge)),
        names=names,
        plan=plan_of(config, tower, connector, merge, source=source),
        prompt=vip_llava.PROMPT if family == "llama" and vip_llava.has_vicuna(config) else None,
        added_tokens=_marks(config),
        max_length=longest(config, language_model),
    )


def family_of(config: Mapping[str, Any], source: str) -> str:
    """transformers' name of the language model of a folder with this `config.json`.

    Raises:
        ValueError: if it is not known, or the folder describes something that cannot be built.
    """
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise ValueError(f"{source}: model_type is {kind!r}, known are {', '.join(FAMILIES)}")
    for field, what in REFUSED.items():
        if config.get(field):
            raise ValueError(f"{source}: {field} is {config[field]!r}; {what} cannot be read")
    return FAMILIES[kind]


def tower_of(
    config: Mapping[str, Any], names: Names, weights: StoredTensors, encoder: str | None
) -> tuple[VisionTransformer, tuple[Reading, ...]]:
    """The image tower: without weights if the checkpoint contains them, otherwise the one that it names."""
    if siglip_towers.is_siglip(encoder or str(config["mm_vision_tower"]), names.of("encoder").values()):
        return siglip_towers.of_original(config, names, weights, encoder)
    source, chosen = weights.source, config.get("mm_vision_select_layer", -1)
    feature = config.get("mm_vision_select_feature", "patch")
    if feature not in ("patch", "cls_patch"):
        raise ValueError(f"{source}: mm_vision_select_feature is {feature!r}, only patch and cls_patch can be read")
    layers, keep = tuple(chosen) if isinstance(chosen, list) else (chosen,), feature == "cls_patch"
    name, inside = encoder or str(config["mm_vision_tower"]), names.of("encoder")
    if vip_llava.is_vip(config):
        name, layers = encoder or vip_llava.TOWER, vip_llava.LAYERS
    if not inside:
        return clip_vit(name, layers=layers, keep_class_token=keep), ()
    with torch.device("meta"):
        if encoder is None and OPENAI.fullmatch(name):
            shapes = names.inside("encoder", weights.shapes)
            tower = openai_clip(shapes, layers=layers, keep_class_token=keep, source=source)
        else:
            tower = clip_vit(name, layers=layers, keep_class_token=keep)
    names.ignore("encoder", unread_of_clip(inside.values(), tower))
    return tower, (Reading("encoder", tower, partial(clip_weights, model=tower)),)


def _merge(config: Mapping[str, Any], tower: VisionTransformer, width: int, source: str) -> Merge | None:
    aspect, kind = str(config.get("image_aspect_ratio")), config.get("mm_patch_merge_type", "flat")
    if aspect == "deepstack":
        start, interval = config.get("deepstack_start_id", 1), config.get("deepstack_interval", 1)
        crops, sampling = config.get("num_crops", 4), config.get("deepstack_sampling", "2d")
        if not config.get("is_anyres_deepstack"):
            return DeepStackMerge(width, start_layer=start, interval=interval, stacks=crops, sampling=sampling)
        if sampling != "2d":
            raise ValueError(f"{source}: deepstack_sampling is {sampling!r}, with is_anyres_deepstack only 2d is known")
        return DeepStackHdMerge(width, start_layer=start, interval=interval, stacks=isqrt(crops) ** 2)
    if not aspect.startswith("anyres"):
        if aspect in TILED:
            raise ValueError(f"{source}: image_aspect_ratio is {aspect!r}; {TILED[aspect]} cannot be read")
        if kind not in ("flat", "spatial", "spatial_unpad"):
            raise ValueError(
                f"{source}: mm_patch_merge_type {kind!r} is not known for image_aspect_ratio {aspect}, only flat, "
                "spatial and spatial_unpad"
            )
        if kind != "spatial_unpad":
            return None
        logger.info("%s: the newline comes after the only view, as in LLaVA-NeXT's code", source)
        return AnyResMerge(width)
    most = re.fullmatch(r"anyres(?:_max_(\d+))?", aspect)
    if most is None:
        raise ValueError(f"{source}: image_aspect_ratio is {aspect!r}, expected anyres or anyres_max_N")
    max_tiles = int(most[1]) if most[1] else None
    if kind == "spatial_unpad" and not tower.use_class_token:
        return OneVisionMerge(width, max_tiles=max_tiles, frame_stride=frame_stride(config))
    return AnyResMerge(width, kind=kind, max_tiles=max_tiles)


def frame_stride(config: Mapping[str, Any]) -> int | None:
    """By how much LLaVA-NeXT's code shrinks the maps of a video's frames; None if in a way that is not known here."""
    known = {"mm_spatial_pool_mode": "bilinear", "mm_newline_position": "one_token", "add_faster_video": False}
    if any(config.get(field, value) != value for field, value in known.items()):
        return None
    stride: int = config.get("mm_spatial_pool_stride") or 2
    return stride


def _marks(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The tokens that LLaVA's code adds whenever it loads a model with marks around pictures, in its order."""
    if not config.get("mm_use_im_start_end"):
        return ()
    # Without the field it adds the mark of patches too, which no prompt has.
    return (*((PATCH_MARK,) if config.get("mm_use_im_patch_token", True) else ()), START, END)


def plan_of(
    config: Mapping[str, Any], tower: VisionTransformer, connector: Connector, merge: Merge | None, *, source: str
) -> ViewPlan:
    """The plan that `config` describes for a model of these parts.

    Raises:
        ValueError: if its canvases do not fit the tower's views.
    """
    plan = _unmarked(config, tower, connector, merge, source=source)
    return MarkedPlan(plan) if config.get("mm_use_im_start_end") else plan


def has_merge(config: Mapping[str, Any]) -> bool:
    """Whether a model of this `config.json` has a merge."""
    aspect = str(config.get("image_aspect_ratio"))
    return aspect.startswith(("anyres", "deepstack")) or config.get("mm_patch_merge_type") == "spatial_unpad"


def _unmarked(
    config: Mapping[str, Any], tower: VisionTransformer, connector: Connector, merge: Merge | None, *, source: str
) -> ViewPlan:
    size, aspect = tower.image_size, str(config.get("image_aspect_ratio"))
    if isinstance(connector, PerceiverResampler):
        if isinstance(connector, SpatialResampler):
            return UhdPlan(size, tower.patch_size, RELEASED_SLICES)
        return UhdPlan(size, tower.patch_size)
    if isinstance(merge, DeepStackHdMerge):
        return DeepStackHdPlan(size, config.get("num_crops", 4))
    if isinstance(merge, DeepStackMerge):
        return DeepStackPlan(size, config.get("num_crops", 4))
    fill = fill_of(tower.image_mean)
    if merge is not None and aspect.startswith("anyres"):
        candidates = canvases(config.get("image_grid_pinpoints"), size, source=source)
        if isinstance(merge, OneVisionMerge):
            return OneVisionPlan(size, candidates, fill=fill)
        return AnyResPlan(size, candidates)
    if aspect == "pad":
        return PadToSquare(size, fill=fill)
    if not tower.use_class_token:
        # SigLIP's pictures are resized to height and width, CLIP's to the shorter side.
        return StretchToSquare(size)
    return CropToSquare(size)

"""Checkpoints of Vary (arXiv 2312.06109): Vary-tiny, Vary-base and Vary-toy."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from foveal.connectors import MlpProjector, Parallel
from foveal.core import KeyMap, StoredTensors
from foveal.encoders import ParallelEncoder, SamViTDet, clip_vit, clip_weights, sam_weights
from foveal.encoders.encoder import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from foveal.models.language_models.qwen1 import qwen2_config_of, qwen2_tensors
from foveal.models.published.decoders import config_of, longest
from foveal.models.published.recipe import Draft, Reading, of_connector
from foveal.models.published.tensor_names import VARY_BASE, VARY_TINY, divided
from foveal.models.published.towers import openai_clip, sam_tower, unread_of_clip
from foveal.models.views.vary import VaryPlan

LINEAR = partial(MlpProjector, depth=1)
BRANCHES = KeyMap({f"{{}}.{kind}": f"branches.{{}}.layers.0.{kind}" for kind in ("weight", "bias")})
"""The two projectors, CLIP's first."""

FIRST_WIDTH = 4096
"""Width of Vary-base's language model. It was trained with SAM's colours and pages squashed without antialiasing;
Vary-toy (2048) and the open weights of Vary-tiny with CLIP's colours and Pillow's bicubic. No configuration says so."""

TINY_TOKENS = ("<imgpad>", "<img>", "</img>")
BASE_TOKENS = ("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<imgpad>")
TOKEN_FIELDS = {"im_patch_token": "<imgpad>", "im_start_token": "<img>", "im_end_token": "</img>"}


def is_tiny(config: Mapping[str, Any], weights: StoredTensors) -> bool:
    """Whether a folder holds a Vary-tiny."""
    names = weights.shapes
    return any(f"model.{tower}.patch_embed.proj.weight" in names for tower in ("vision_tower_2", "vision_tower")) and (
        "model.decoder.embed_tokens.weight" in names
    )


def is_base(config: Mapping[str, Any], weights: StoredTensors) -> bool:
    """Whether a folder holds a Vary-base or Vary-toy."""
    return {"transformer.vision_tower_high.pos_embed", "transformer.mm_projector_vary.weight"} <= set(weights.shapes)


def tiny(config: Mapping[str, Any], weights: StoredTensors, encoder: str | None) -> Draft:
    """Draft the Vary-tiny of a folder.

    Raises:
        ValueError: if the folder describes something that cannot be built.
    """
    source = weights.source
    names = divided(weights.shapes, VARY_TINY, source=source)
    language_model = config_of("opt", config)
    with torch.device("meta"):
        shapes = names.inside("encoder", weights.shapes)
        tower = sam_tower(shapes, image_mean=CLIP_MEAN, image_std=CLIP_STD, source=source)
        connector = LINEAR(tower.widths[0], language_model.hidden_size)
    return Draft(
        family="opt",
        language_model=language_model,
        encoder=tower,
        connector=connector,
        readings=(of_sam("encoder", tower), of_connector(connector)),
        names=names,
        plan=VaryPlan(tower.image_size),
        prompt=("vary_tiny", None),
        tokens=TINY_TOKENS,
        token_fields=TOKEN_FIELDS,
        max_length=longest(config, language_model),
    )


def base(config: Mapping[str, Any], weights: StoredTensors, encoder: str | None) -> Draft:
    """Draft the Vary-base or Vary-toy of a folder.

    Args:
        config: the folder's `config.json`.
        weights: the folder's tensors.
        encoder: folder or hub name of the CLIP tower, for its sizes, if it is not one of OpenAI's.

    Raises:
        ValueError: if the folder describes something that cannot be built.
    """
    source = weights.source
    names = divided(weights.shapes, VARY_BASE, source=source)
    language_model = qwen2_config_of(config, source=source)
    is_first = language_model.hidden_size == FIRST_WIDTH
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if is_first else (CLIP_MEAN, CLIP_STD)
    with torch.device("meta"):
        shapes = names.inside("clip", weights.shapes)
        clip = openai_clip(shapes, layers=(-2,), source=source) if encoder is None else clip_vit(encoder)
        tower = sam_tower(names.inside("sam", weights.shapes), image_mean=mean, image_std=std, source=source)
        both = ParallelEncoder([clip, tower])
        connector = Parallel(both.widths, language_model.hidden_size, branches=[LINEAR, LINEAR])
    names.ignore("clip", unread_of_clip(names.of("clip").values(), clip))
    return Draft(
        family="qwen2",
        language_model=language_model,
        rename=partial(qwen2_tensors, source=source),
        encoder=both,
        connector=connector,
        readings=(
            Reading("clip", clip, partial(clip_weights, model=clip)),
            of_sam("sam", tower),
            Reading("connector", connector, BRANCHES.read),
        ),
        names=names,
        plan=VaryPlan(tower.image_size, clip.image_size, resample="bilinear" if is_first else "bicubic"),
        prompt=("vary", None),
        tokens=BASE_TOKENS,
        token_fields=TOKEN_FIELDS,
        max_length=longest(config, language_model),
    )


def of_sam(part: str, tower: SamViTDet) -> Reading:
    """The reading of SAM's tower, under any published names."""
    return Reading(part, tower, partial(sam_weights, model=tower))

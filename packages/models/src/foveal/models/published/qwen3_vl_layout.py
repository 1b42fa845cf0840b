"""Checkpoints of Qwen3-VL (arXiv 2511.21631) in transformers' layout: `qwen3_vl`, without experts."""

import logging
from collections.abc import Mapping
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal.connectors import Connector, Parallel, PatchMerger
from foveal.connectors.patch_merger import TRANSFORMERS as MERGER
from foveal.core import StoredTensors
from foveal.encoders import Qwen3VisionTransformer, qwen3_vision_weights
from foveal.models.library_errors import told_of
from foveal.models.merges.levels import LevelsMerge
from foveal.models.published.decoders import config_of
from foveal.models.published.image_processors import QWEN2_VL
from foveal.models.published.preprocessing import preprocessing_of
from foveal.models.published.recipe import Draft, Reading, refuse_encoder
from foveal.models.published.tensor_names import QWEN3_VL, divided
from foveal.models.views.native import NativePlan
from foveal.models.views.plan import ViewPlan

logger = logging.getLogger(__name__)

KIND = "qwen3_vl"
TOKEN_FIELDS = {
    "image_token_id": "<|image_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
KNOWN = {"hidden_act": "gelu_pytorch_tanh", "in_channels": 3}
"""Settings of the tower that have only one known value."""


def is_qwen3_vl(config: Mapping[str, Any], weights: StoredTensors) -> bool:
    """Whether a folder holds a Qwen3-VL without experts."""
    return config.get("model_type") == KIND


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
    names = divided(weights.shapes, QWEN3_VL, source=source)
    with told_of(source, "its config.json describes no Qwen3-VL that can be built"), torch.device("meta"):
        described = config_of(KIND, config)
        language_model, vision = described.text_config, described.vision_config
        # transformers ties the output layer if the whole model's configuration says so.
        language_model.tie_word_embeddings = described.tie_word_embeddings
        for key, value in KNOWN.items():
            if getattr(vision, key) != value:
                raise ValueError(f"vision_config has {key} {getattr(vision, key)!r}, only {value!r} is known")
        if vision.out_hidden_size != language_model.hidden_size:
            raise ValueError(
                f"vision_config has out_hidden_size {vision.out_hidden_size}, text_config hidden_size "
                f"{language_model.hidden_size}: they must be equal"
            )
        tower = _tower(vision)
        connector = _connector(vision, len(tower.layers))
        merge = LevelsMerge(language_model.hidden_size, levels=len(tower.layers))
    return Draft(
        family="qwen3_vl_text",
        language_model=language_model,
        encoder=tower,
        connector=connector,
        merge=merge,
        readings=(
            Reading("encoder", tower, qwen3_vision_weights),
            Reading("connector", connector, _mergers),
        ),
        names=names,
        plan=_plan(Path(source), vision, tower),
        tokens=(TOKEN_FIELDS["vision_start_token_id"], TOKEN_FIELDS["vision_end_token_id"]),
        token_fields=TOKEN_FIELDS,
        max_length=language_model.max_position_embeddings,
    )


def _tower(vision: Any) -> Qwen3VisionTransformer:
    side = isqrt(vision.num_position_embeddings)
    if side * side != vision.num_position_embeddings:
        raise ValueError(f"vision_config has {vision.num_position_embeddings} positions, which form no square")
    deep = tuple(vision.deepstack_visual_indexes)
    if not deep or list(deep) != sorted(set(deep)) or not 0 <= deep[0] <= deep[-1] < vision.depth:
        raise ValueError(
            f"vision_config has deepstack_visual_indexes {list(deep)}: expected are blocks from 0 to "
            f"{vision.depth - 1}, from shallow to deep"
        )
    return Qwen3VisionTransformer(
        vision.hidden_size,
        vision.depth,
        vision.num_heads,
        vision.intermediate_size,
        vision.patch_size,
        vision.patch_size * side,
        # State i is the input of block i, counted from 0, and the published numbers mean outputs.
        layers=(-1, *(block + 1 for block in deep)),
        frames=vision.temporal_patch_size,
        rotary_base=vision.rope_parameters["rope_theta"],
    )


def _connector(vision: Any, levels: int) -> Connector:
    ratio = vision.spatial_merge_size
    deep = partial(PatchMerger, ratio=ratio, norm_blocks=True)
    branches = [partial(PatchMerger, ratio=ratio), *[deep] * (levels - 1)]
    return Parallel((vision.hidden_size,) * levels, vision.out_hidden_size, branches=branches, join="levels")


def _mergers(tensors: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Rename the mergers' tensors to those of the connector's branches: the last level, then the deep ones."""
    read: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        branch = 0
        if first != "merger":
            number, _, rest = rest.partition(".")
            branch = int(number) + 1
        for ours, value in MERGER.read({rest: tensor}, source=source).items():
            read[f"branches.{branch}.{ours}"] = value
    return read


def _plan(folder: Path, vision: Any, tower: Qwen3VisionTransformer) -> ViewPlan:
    """The plan that the folder's settings of pictures describe; also gives the tower their mean and deviation."""
    settings = preprocessing_of(folder, (QWEN2_VL,))
    if settings is None:
        logger.info("%s: no file says how pictures are resized, so as the published models do", folder)
        return NativePlan(vision.patch_size * vision.spatial_merge_size)
    tower.image_mean, tower.image_std = settings.statistics()
    return settings.native(
        patch_size=vision.patch_size, merge_size=vision.spatial_merge_size, frames=vision.temporal_patch_size
    )

"""LLaVA-OneVision's checkpoints in transformers' layout."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from foveal.connectors import MlpProjector
from foveal.core import StoredTensors
from foveal.encoders import VisionTransformer
from foveal.encoders.hub import only_shapes
from foveal.models.merges.onevision import OneVisionMerge
from foveal.models.published.canvases import canvases
from foveal.models.published.image_processors import ONEVISION
from foveal.models.published.preprocessing import preprocessing_of
from foveal.models.published.recipe import IMAGE_ID_FIELDS, Draft, of_connector, of_merge
from foveal.models.published.towers import fill_of
from foveal.models.published.transformers_layout import described, pinpoints_of, tower_of
from foveal.models.views.onevision import CANVASES, OneVisionPlan

logger = logging.getLogger(__name__)

KIND = "llava_onevision"
DEFAULTS = {"vision_feature_layer": -1, "vision_feature_select_strategy": "full", "vision_aspect_ratio": "anyres_max_9"}
"""What transformers takes for settings that config.json does not have."""


def is_onevision(config: Mapping[str, Any], weights: StoredTensors) -> bool:
    """Whether a folder has transformers' layout of LLaVA-OneVision."""
    return config.get("model_type") == KIND and any("multi_modal_projector." in name for name in weights.shapes)


def draft(config: Mapping[str, Any], weights: StoredTensors, encoder: str | None) -> Draft:
    """Draft the model of a folder.

    Args:
        config: the folder's `config.json`.
        weights: the folder's tensors.
        encoder: folder of the image tower, if its sizes differ from those in `config`.

    Raises:
        ValueError: if the folder describes something that cannot be built, or has no image tower.
    """
    config, source = {**DEFAULTS, **config}, weights.source
    most = re.fullmatch(r"anyres_max_(\d+)", str(config["vision_aspect_ratio"]))
    if most is None:
        raise ValueError(f"{source}: vision_aspect_ratio is {config['vision_aspect_ratio']!r}, expected anyres_max_N")
    names, language_model = described(config, weights)
    tower, reading = tower_of(config, names, encoder, source)
    with torch.device("meta"):
        connector = MlpProjector(tower.width, language_model.hidden_size, prefix_tokens=tower.prefix_tokens)
        merge = OneVisionMerge(language_model.hidden_size, max_tiles=int(most[1]), rounded=True)
    return Draft(
        family=language_model.model_type,
        language_model=language_model,
        encoder=tower,
        connector=connector,
        merge=merge,
        readings=(reading, of_connector(connector), of_merge(merge)),
        names=names,
        plan=_plan(config, tower, source),
        token_fields=dict.fromkeys(IMAGE_ID_FIELDS, "<image>"),
        max_length=language_model.max_position_embeddings,
    )


def _plan(config: Mapping[str, Any], tower: VisionTransformer, source: str) -> OneVisionPlan:
    """The plan that the folder's settings of pictures describe; also gives the tower their mean and deviation."""
    size, settings = tower.image_size, preprocessing_of(Path(source), (ONEVISION,))
    if settings is not None:
        tower.image_mean, tower.image_std = settings.statistics()
        settings.check_tiles(size)
        settings.require("do_resize", True, f"the tower takes views of {size} pixels a side")
    default = [[size * first, size * second] for first, second in CANVASES]
    pinpoints = pinpoints_of(config, settings) or default
    fill = fill_of(tower.image_mean) if settings is None else settings.fill()
    if not only_shapes():
        why = "by default" if settings is None else f"as {settings.path.name} says"
        logger.info("%s: views are cut by OneVisionPlan(%d), %s", source, size, why)
    # As for LLaVA-NeXT, this layout reads the list of canvases as (height, width), the original as (width, height).
    return OneVisionPlan(size, canvases(pinpoints, size, source=source), tie_order="height_first", fill=fill)

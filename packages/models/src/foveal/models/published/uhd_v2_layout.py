"""Checkpoints of LLaVA-UHD v2's own code: LLaVA's layout, with the upsampler of VDIM inside of the projector."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from foveal.connectors import HiwinAttention
from foveal.connectors.hiwin import SCALES, hiwin_map
from foveal.core import StoredTensors
from foveal.encoders import InverseSemanticPyramid
from foveal.encoders.pyramid import VDIM
from foveal.models.published import llava_layout
from foveal.models.published.decoders import config_of, longest
from foveal.models.published.projectors import RESAMPLER_HEAD_WIDTH
from foveal.models.published.recipe import Draft, Reading, of_merge
from foveal.models.published.tensor_names import UHD_V2, divided
from foveal.models.published.towers import shape_of
from foveal.models.views.uhd import UhdPlan

KIND = "adapt_spatial_resampler_v2"
FEATURIZER = "FeatUp's own copy of a tower, which LLaVA-UHD v2 never runs"


def is_uhd_v2(config: Mapping[str, Any], weights: StoredTensors) -> bool:
    """Whether a folder has this layout."""
    return config.get("mm_projector_type") == KIND and llava_layout.is_original(config, weights)


def draft(config: Mapping[str, Any], weights: StoredTensors, encoder: str | None) -> Draft:
    """Draft the model of a folder.

    Args:
        config: the folder's `config.json`.
        weights: the folder's tensors.
        encoder: folder or hub name of the image tower, replacing the name in the configuration.

    Raises:
        ValueError: if the folder describes something that cannot be built.
    """
    source, family = weights.source, llava_layout.family_of(config, weights.source)
    if config.get("mm_use_im_start_end"):
        raise ValueError(f"{source}: mm_use_im_start_end is set, marks around pictures are not known of LLaVA-UHD v2")
    scales = _scales(config, source)
    names = divided(weights.shapes, UHD_V2, source=source)
    names.ignore("featurizer", dict.fromkeys(names.of("featurizer").values(), FEATURIZER))
    language_model = config_of(family, config)
    tower, readings = llava_layout.tower_of(config, names, weights, encoder)
    shapes = names.inside("connector", weights.shapes)
    width: int = language_model.hidden_size
    if width % RESAMPLER_HEAD_WIDTH:
        raise ValueError(f"{source}: heads of {RESAMPLER_HEAD_WIDTH} channels do not divide {width}")
    with torch.device("meta"):
        pyramid = InverseSemanticPyramid(tower, scales=scales)
        connector = HiwinAttention(
            pyramid.widths,
            width,
            queries=shape_of(shapes, "query_1", source)[0],
            heads=width // RESAMPLER_HEAD_WIDTH,
        )
    steps = nn.ModuleDict({"steps": pyramid.steps, "mix": pyramid.mix})
    return Draft(
        family=family,
        language_model=language_model,
        encoder=pyramid,
        connector=connector,
        readings=(
            *readings,
            Reading("upsampler", steps, VDIM.read),
            Reading("connector", connector, hiwin_map(scales).read),
            of_merge(None),
        ),
        names=names,
        plan=UhdPlan(tower.image_size, tower.patch_size, llava_layout.RELEASED_SLICES),
        max_length=longest(config, language_model),
    )


def _scales(config: Mapping[str, Any], source: str) -> tuple[int, ...]:
    """The scales of the maps: bits of `feature_scale_mask`, whose default in the code is 7."""
    mask = config.get("feature_scale_mask", 7)
    if not isinstance(mask, int) or not 2 <= mask < SCALES[-1]:
        raise ValueError(
            f"{source}: feature_scale_mask is {mask!r}; known are sums of 1, 2 and 4 with an enlarged map, as the 5 of "
            "the released models, not maps of 8 times the size"
        )
    return tuple(scale for scale in SCALES if mask & scale)

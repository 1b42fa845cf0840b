"""Checkpoints of MiniCPM-V 4.6 in transformers' layout."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from foveal.connectors import PatchMerger
from foveal.connectors.patch_merger import MINICPM as MERGER
from foveal.core import StoredTensors
from foveal.encoders import EarlyCompressionViT, minicpm_vit, minicpm_weights
from foveal.encoders.hub import only_shapes
from foveal.encoders.minicpm import COMPRESSED, UNCOMPRESSED
from foveal.models.published.decoders import config_of
from foveal.models.published.image_processors import MINICPM
from foveal.models.published.preprocessing import preprocessing_of
from foveal.models.published.recipe import IMAGE_ID_FIELDS, Draft, Reading, check_described, check_known, refuse_encoder
from foveal.models.published.tensor_names import MINICPM as TABLE
from foveal.models.published.tensor_names import divided
from foveal.models.views.minicpm import MiniCpmPlan

logger = logging.getLogger(__name__)

KINDS = ("minicpmv4_6",)
TOKENS = ("<|im_start|>", "<|im_end|>", "<image>", "</image>", "<slice>", "</slice>")
KNOWN: dict[str, Any] = {"merge_kernel_size": [2, 2], "merger_times": 1, "drop_vision_last_layer": False}
"""The only known values of settings of the whole model."""


def is_minicpm(config: Mapping[str, Any], weights: StoredTensors) -> bool:
    """Whether a folder holds a MiniCPM-V 4.6."""
    return config.get("model_type") in KINDS


def draft(config: Mapping[str, Any], weights: StoredTensors, encoder: str | None) -> Draft:
    """Draft the model of a folder.

    Args:
        config: the folder's `config.json`.
        weights: the folder's tensors.
        encoder: refused if given, see `refuse_encoder`.

    Raises:
        ValueError: if the folder describes something that cannot be built, naming the setting.
    """
    source = weights.source
    refuse_encoder(encoder, source=source)
    check_described(config, source=source)
    check_known(config, KNOWN, source=source)
    family = config["text_config"].get("model_type", "qwen3_5_text")
    language_model = config_of(family, config["text_config"])
    # transformers ties the output layer if the whole model's configuration says so, and not by the text's.
    language_model.tie_word_embeddings = bool(config.get("tie_word_embeddings", False))
    with torch.device("meta"):
        tower = minicpm_vit(source)
        connector = PatchMerger(tower.width, language_model.hidden_size, norm_blocks=True)
    names = divided(weights.shapes, TABLE, source=source)
    if tower.compression is None:
        unread = (name for name in names.of("encoder").values() if name.startswith("vit_merger."))
        names.ignore("encoder", dict.fromkeys(unread, f"a layer that downsample_mode {UNCOMPRESSED} does not use"))
    return Draft(
        family=family,
        language_model=language_model,
        encoder=tower,
        connector=connector,
        readings=(
            Reading("encoder", tower, partial(minicpm_weights, model=tower)),
            Reading("connector", connector, MERGER.read),
        ),
        names=names,
        plan=_plan(tower, source),
        prompt=("chat", None),
        tokens=TOKENS,
        token_fields=dict.fromkeys(IMAGE_ID_FIELDS, "<|image_pad|>"),
        max_length=language_model.max_position_embeddings,
    )


def _plan(tower: EarlyCompressionViT, source: str) -> MiniCpmPlan:
    """The plan that the folder's settings of pictures describe; also gives the tower their mean and deviation."""
    mode = UNCOMPRESSED if tower.compression is None else COMPRESSED
    cell = tower.patch_size * (4 if mode == COMPRESSED else 2)
    settings = preprocessing_of(Path(source), (MINICPM,))
    if settings is None:
        plan = MiniCpmPlan(cell=cell)
        if not only_shapes():
            logger.info("%s: pictures have up to %d slices, since no file says otherwise", source, plan.max_slices)
        return plan
    tower.image_mean, tower.image_std = settings.statistics()
    for field, value in {
        "patch_size": tower.patch_size,
        "downsample_mode": mode,
        "do_resize": True,
        "resample": 3,
    }.items():
        settings.check(field, value)
    return MiniCpmPlan(
        settings.count("scale_resolution"),
        cell,
        settings.count("max_slice_nums") if settings.settings["slice_mode"] else 1,
        image_ids=bool(settings.settings["use_image_id"]),
    )

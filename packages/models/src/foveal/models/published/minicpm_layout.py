"""Checkpoints of MiniCPM-V 4.6 in transformers' layout."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foveal.connectors import DownsampleMlp
from foveal.connectors.downsample import TRANSFORMERS
from foveal.core import StoredTensors
from foveal.encoders import EarlyCompressionViT, early_compression_weights
from foveal.encoders.block import Activation
from foveal.encoders.hub import only_shapes
from foveal.models.published.decoders import config_of
from foveal.models.published.preprocessing import MINICPM, preprocessing_of
from foveal.models.published.recipe import Draft, Reading, unchanged
from foveal.models.published.tensor_names import Table, divided
from foveal.models.views.minicpm import MiniCpmPlan

logger = logging.getLogger(__name__)

KINDS = ("minicpmv4_6",)
NAMES: Table = (
    ("model.vision_tower.", "encoder", ""),
    ("model.merger.", "connector", ""),
    ("model.language_model.", "language_model", "model."),
    ("lm_head.", "language_model", "lm_head."),
)
KNOWN: dict[str, Any] = {"merge_kernel_size": [2, 2], "merger_times": 1, "drop_vision_last_layer": False}
"""The only known values of settings in config.json."""
KNOWN_OF_TOWER: dict[str, Any] = {"window_kernel_size": [2, 2], "num_channels": 3, "attention_dropout": 0.0}
TOWER: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
"""What transformers takes for settings of `vision_config` that are not stated."""
ACTIVATIONS: dict[str, Activation] = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
COMPRESSED, UNCOMPRESSED = "16x", "4x"


def is_minicpm(config: Mapping[str, Any], weights: StoredTensors) -> bool:
    """Whether a folder holds a MiniCPM-V 4.6."""
    return config.get("model_type") in KINDS


def draft(config: Mapping[str, Any], weights: StoredTensors, encoder: str | None) -> Draft:
    """Draft the model of a folder.

    Args:
        config: the folder's `config.json`.
        weights: the folder's tensors.
        encoder: not used, because the folder has its own tower.

    Raises:
        ValueError: if the folder describes something that cannot be built, naming the setting.
    """
    source = weights.source
    text, vision = config.get("text_config"), config.get("vision_config")
    if not isinstance(text, dict) or not isinstance(vision, dict):
        raise ValueError(f"{source}: config.json describes no language model (text_config) or tower (vision_config)")
    for settings, known in ((config, KNOWN), (vision, KNOWN_OF_TOWER)):
        for field, value in known.items():
            if settings.get(field, value) != value:
                raise ValueError(f"{source}: {field} is {settings[field]!r}, only {value!r} can be read")
    mode = config.get("downsample_mode", COMPRESSED)
    if mode not in (COMPRESSED, UNCOMPRESSED):
        raise ValueError(f"{source}: downsample_mode is {mode!r}, expected {COMPRESSED} or {UNCOMPRESSED}")
    family = text.get("model_type", "qwen3_5_text")
    language_model = config_of(family, text)
    # transformers ties the output layer if the whole model's configuration says so, and not by the text's.
    language_model.tie_word_embeddings = bool(config.get("tie_word_embeddings", False))
    with torch.device("meta"):
        tower = _tower(vision, config.get("insert_layer_id", 6), mode, source)
        connector = DownsampleMlp(tower.width, language_model.hidden_size)
    names = divided(weights.shapes, NAMES, source=source)
    if tower.compression is None:
        unread = (name for name in names.of("encoder").values() if name.startswith("vit_merger."))
        names.ignore("encoder", dict.fromkeys(unread, f"a layer that downsample_mode {mode} does not use"))

    def of_tower(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
        return early_compression_weights(tensors, tower, source=source)

    def of_connector(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
        return TRANSFORMERS.read(tensors, source=source)

    return Draft(
        family=family,
        language_model=language_model,
        rename=unchanged,
        encoder=tower,
        connector=connector,
        readings=(Reading("encoder", tower, of_tower), Reading("connector", connector, of_connector)),
        names=names,
        plan=_plan(tower, mode, source),
        prompt=("chat", None),
        max_length=language_model.max_position_embeddings,
    )


def _tower(vision: Mapping[str, Any], inserted: Any, mode: str, source: str) -> EarlyCompressionViT:
    sizes = {**TOWER, **vision}
    if sizes["hidden_act"] not in ACTIVATIONS:
        raise ValueError(f"{source}: hidden_act is {sizes['hidden_act']!r}, known are {', '.join(ACTIVATIONS)}")
    if not isinstance(inserted, int) or not 0 <= inserted < sizes["num_hidden_layers"]:
        raise ValueError(f"{source}: insert_layer_id is {inserted!r}, not one of {sizes['num_hidden_layers']} layers")
    for field in ("image_size", "patch_size"):
        if not isinstance(sizes[field], int):
            raise ValueError(f"{source}: {field} is {sizes[field]!r}, only one number for both sides can be read")
    return EarlyCompressionViT(
        sizes["hidden_size"],
        sizes["num_hidden_layers"],
        sizes["num_attention_heads"],
        sizes["intermediate_size"],
        sizes["patch_size"],
        sizes["image_size"],
        compress_after=inserted + 1 if mode == COMPRESSED else None,
        activation=ACTIVATIONS[sizes["hidden_act"]],
        norm_eps=sizes["layer_norm_eps"],
    )


def _plan(tower: EarlyCompressionViT, mode: str, source: str) -> MiniCpmPlan:
    """The plan that the folder's settings of pictures describe; also gives the tower their mean and deviation."""
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

"""Checkpoints of DeepSeek-OCR 2 (arXiv 2601.20552) as transformers writes them: `deepseek_ocr2`."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from foveal.core import StoredTensors
from foveal.core.annotations import fits
from foveal.encoders import CausalFlowEncoder, SamViTDet, causal_flow_weights
from foveal.encoders.encoder import HALF
from foveal.models.library_errors import told_of
from foveal.models.merges.separator import SeparatorMerge
from foveal.models.published.decoders import config_of
from foveal.models.published.experts import Experts
from foveal.models.published.image_processors import DEEPSEEK_OCR2
from foveal.models.published.preprocessing import Preprocessing, preprocessing_of
from foveal.models.published.recipe import IMAGE_ID_FIELDS, Draft, Reading, of_connector, of_merge, refuse_encoder
from foveal.models.published.tensor_names import DEEPSEEK_OCR2 as TABLE
from foveal.models.published.tensor_names import divided
from foveal.models.published.towers import described_sam
from foveal.models.published.vary_layout import LINEAR
from foveal.models.views.deepseek_ocr2 import DeepSeekOcr2Plan

KIND = "deepseek_ocr2"
KINDS = (KIND,)


def is_deepseek_ocr2(config: Mapping[str, Any], weights: StoredTensors) -> bool:
    """Whether a folder has this layout."""
    return config.get("model_type") == KIND


def draft(config: Mapping[str, Any], weights: StoredTensors, encoder: str | None) -> Draft:
    """Draft the model of a folder.

    Args:
        config: the folder's `config.json`.
        weights: the folder's tensors, under the names of the released code or of transformers in memory.
        encoder: refused if given, see `refuse_encoder`.

    Raises:
        ValueError: if the folder describes something that cannot be built.
    """
    source = weights.source
    refuse_encoder(encoder, source=source)
    names = divided(weights.shapes, TABLE, source=source)
    with told_of(source, "its config.json describes no DeepSeek-OCR 2 that can be built"), torch.device("meta"):
        described = config_of(KIND, config)
        language_model, vision = described.text_config, described.vision_config
        language_model.tie_word_embeddings |= described.tie_word_embeddings
        tower = described_sam(vision.sam_config, downsample=tuple(vision.sam_config.downsample_channels), source=source)
        plan = _plan(Path(source), tower)
        flow = _flow(tower, vision.encoder_config, source)
        connector = LINEAR(flow.widths[0], language_model.hidden_size)
        merge = SeparatorMerge(language_model.hidden_size)
    return Draft(
        family=language_model.model_type,
        language_model=language_model,
        gather=Experts(language_model.n_routed_experts, source),
        encoder=flow,
        connector=connector,
        merge=merge,
        readings=(
            Reading("flow", flow, partial(causal_flow_weights, model=flow)),
            of_connector(connector),
            of_merge(merge),
        ),
        names=names,
        plan=plan,
        prompt=("deepseek_ocr2", None),
        token_fields=dict.fromkeys(IMAGE_ID_FIELDS, "<image>"),
        max_length=language_model.max_position_embeddings,
    )


def _flow(tower: SamViTDet, reader: Any, source: str) -> CausalFlowEncoder:
    """The encoder, whose language model transformers' `encoder_config` describes."""
    known = {"hidden_act": "silu", "use_sliding_window": False, "hidden_size": tower.widths[0]}
    for field, expected in known.items():
        if getattr(reader, field) != expected:
            raise ValueError(
                f"{source}: {field} of the encoder's language model is {getattr(reader, field)!r}, only {expected!r} "
                "can be read"
            )
    rotary = dict(reader.rope_parameters)
    if rotary.get("rope_type", "default") != "default":
        raise ValueError(f"{source}: rope_type of the encoder's language model is {rotary['rope_type']!r}, not default")
    return CausalFlowEncoder(
        tower,
        reader.num_hidden_layers,
        reader.num_attention_heads,
        reader.num_key_value_heads,
        reader.intermediate_size,
        rotary_base=rotary["rope_theta"],
        norm_eps=reader.rms_norm_eps,
    )


def _plan(folder: Path, tower: SamViTDet) -> DeepSeekOcr2Plan:
    """The plan that the folder's settings of pictures describe; also gives the tower their mean and deviation."""
    tower.image_mean, tower.image_std = HALF, HALF
    settings = preprocessing_of(folder, (DEEPSEEK_OCR2,))
    if settings is None:
        return DeepSeekOcr2Plan()
    tower.image_mean, tower.image_std = settings.statistics()
    return _cut(settings)


def _cut(settings: Preprocessing) -> DeepSeekOcr2Plan:
    """The plan of a folder's settings.

    Raises:
        ValueError: naming a setting that cannot be honoured.
    """
    settings.check("crop_to_patches", True)
    fewest, most = settings.tiles()
    if not fits(settings.settings["background_color"], tuple[int, int, int]):
        raise settings.refused("background_color", "expected are three whole numbers")
    red, green, blue = settings.settings["background_color"]
    return DeepSeekOcr2Plan(settings.side(), settings.count("tile_size"), most, fewest, fill=(red, green, blue))

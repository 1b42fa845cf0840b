"""Checkpoints of GOT-OCR 2.0 (arXiv 2409.01704): transformers' `got_ocr2`, and the layout of its own code (`GOT`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from foveal.core import StoredTensors
from foveal.encoders import SamViTDet
from foveal.encoders.encoder import CLIP_MEAN, CLIP_STD
from foveal.models.library_errors import told_of
from foveal.models.published.decoders import config_of, longest
from foveal.models.published.image_processors import GOT
from foveal.models.published.preprocessing import preprocessing_of
from foveal.models.published.recipe import IMAGE_ID_FIELDS, Draft, of_connector, refuse_encoder
from foveal.models.published.tensor_names import GOT_LIBRARY, GOT_ORIGINAL, divided
from foveal.models.published.towers import described_sam, sam_tower
from foveal.models.published.vary_layout import BASE_TOKENS, LINEAR, TOKEN_FIELDS, of_sam
from foveal.models.views.tiles import DynamicTilesPlan

KIND, ORIGINAL_KIND = "got_ocr2", "GOT"
KINDS = (KIND, ORIGINAL_KIND)


def is_got(config: Mapping[str, Any], weights: StoredTensors) -> bool:
    """Whether a folder holds a GOT-OCR 2.0, in either layout."""
    names = weights.shapes
    original = {"model.vision_tower_high.pos_embed", "model.mm_projector_vary.weight", "model.embed_tokens.weight"}
    return config.get("model_type") == KIND or original <= set(names)


def draft(config: Mapping[str, Any], weights: StoredTensors, encoder: str | None) -> Draft:
    """Draft the model of a folder.

    Args:
        config: the folder's `config.json`.
        weights: the folder's tensors.
        encoder: refused if given, see `refuse_encoder`.

    Raises:
        ValueError: if the folder describes something that cannot be built.
    """
    source, is_library = weights.source, config.get("model_type") == KIND
    refuse_encoder(encoder, source=source)
    names = divided(weights.shapes, GOT_LIBRARY if is_library else GOT_ORIGINAL, source=source)
    with told_of(source, "its config.json describes no GOT-OCR 2.0 that can be built"), torch.device("meta"):
        if is_library:
            described = config_of(KIND, config)
            language_model = described.text_config
            # transformers ties the output layer if either of the two says so.
            language_model.tie_word_embeddings |= described.tie_word_embeddings
            vision, width = described.vision_config, language_model.hidden_size
            tower = described_sam(vision, downsample=(2 * vision.output_channels, width), source=source)
        else:
            language_model = config_of("qwen2", config)
            shapes = names.inside("encoder", weights.shapes)
            tower = sam_tower(shapes, image_mean=CLIP_MEAN, image_std=CLIP_STD, source=source)
        connector = LINEAR(tower.widths[0], language_model.hidden_size)
    return Draft(
        family="qwen2",
        language_model=language_model,
        encoder=tower,
        connector=connector,
        readings=(of_sam("encoder", tower), of_connector(connector)),
        names=names,
        plan=_plan(Path(source), tower) if is_library else _tiles(tower.image_size, (1, 1)),
        prompt=("vary", None),
        tokens=BASE_TOKENS,
        token_fields=dict.fromkeys(IMAGE_ID_FIELDS, "<imgpad>") if is_library else TOKEN_FIELDS,
        max_length=longest(config, language_model),
    )


def _plan(folder: Path, tower: SamViTDet) -> DynamicTilesPlan:
    """The plan that the folder's settings of pictures describe; also gives the tower their mean and deviation."""
    tower.image_mean, tower.image_std = CLIP_MEAN, CLIP_STD
    settings = preprocessing_of(folder, (GOT,))
    if settings is None:
        return _tiles(tower.image_size, (1, 1))
    tower.image_mean, tower.image_std = settings.statistics()
    settings.check_side(tower.image_size)
    return _tiles(tower.image_size, settings.tiles())


def _tiles(size: int, numbers: tuple[int, int]) -> DynamicTilesPlan:
    fewest, most = numbers
    return DynamicTilesPlan(size, most, fewest, start="<img>", end="</img>", enclose_together=True)

"""The text model of a folder that holds a vision-language model, such as Gemma 3 from 4 billion parameters on.

transformers offers such a folder as a whole, which cannot continue from embeddings. Only the text model is read here.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from foveal.core import StoredTensors
from foveal.encoders.hub import folder_of
from foveal.models.language_models.causal import causal_class
from foveal.models.language_models.quantize import Kind, recorded_kind
from foveal.models.language_models.quantized_loading import load_quantized
from foveal.models.language_models.stored_sizes import check_loaded, check_sizes
from foveal.models.library_errors import told_of

logger = logging.getLogger(__name__)
PREFIXES = {
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "model.language_model.": "model.",
    "lm_head.": "lm_head.",
}
"""Prefix in folders, as published and as in transformers' memory -> prefix in the text model alone."""


def text_config_of(config: Any) -> Any:
    """The configuration of the text model inside of a vision-language model's; None if `config` describes another kind,
    or a text model that is no causal language model of transformers.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    text = getattr(config, "text_config", None)
    if text is None or getattr(config, "vision_config", None) is None or text.model_type not in CAUSAL:
        return None
    text.dtype = text.dtype or config.dtype
    text.tie_word_embeddings = text.tie_word_embeddings or config.tie_word_embeddings
    if (quantization := getattr(config, "quantization_config", None)) is not None:
        text.quantization_config = quantization
    return text


def load_text_part(name_or_folder: str, config: Any, *, kind: Kind | None, dtype: torch.dtype | None) -> Any:
    """Load the text model of a folder; on the meta device without weights.

    Args:
        name_or_folder: folder or hub name of the vision-language model.
        config: the result of `text_config_of`.
        kind: how it is quantised while it is read; None: not, or as it was stored.
        dtype: dtype of the weights; None: as they were stored.

    Raises:
        ValueError: as for `pretrained_language_model`.
    """
    if torch.get_default_device().type == "meta":
        return causal_class(config).from_config(config, dtype=dtype or config.dtype, trust_remote_code=False)
    stored = StoredTensors(folder_of(name_or_folder))
    own = {name: tensor for name, tensor in stored.described.items() if _renamed({name: tensor})}
    logger.info(
        "%s: of a vision-language model only the text model is read, %d of %d tensors",
        *(name_or_folder, len(own), len(stored.described)),
    )
    if kind is not None or recorded_kind(config) is not None:
        return load_quantized(stored, config, kind=kind, dtype=dtype, rename=_renamed)
    check_sizes(config, _renamed(own), name_or_folder)
    with told_of(name_or_folder, "it cannot be loaded"):
        model, loading = causal_class(config).from_pretrained(
            stored.source,
            config=config,
            key_mapping={f"^{re.escape(prefix)}": instead for prefix, instead in PREFIXES.items()},
            dtype=dtype or "auto",
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    known = _renamed(own)
    check_loaded({**loading, "unexpected_keys": known.keys() & set(loading["unexpected_keys"])}, name_or_folder)
    return model


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the text model, by its own names."""
    found = {}
    for name, tensor in tensors.items():
        for prefix, instead in PREFIXES.items():
            if name.startswith(prefix):
                found[instead + name.removeprefix(prefix)] = tensor
                break
    return found

"""Published folders that somebody has quantised: which can be read, and how."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from foveal.core import StoredTensors
from foveal.models.language_models.quantize import StoredKind, described_kind
from foveal.models.language_models.stored_quantization import dequantized, quantized_in

logger = logging.getLogger(__name__)
DECODER = re.compile(r"(.*\.)?(layers|h)\.\d+\..*")
"""Names of a language model's layers inside its decoder."""


def plain_weights(stored: StoredTensors, config: Mapping[str, Any]) -> StoredTensors:
    """The same weights, where quantised ones are dequantised while they are read.

    Args:
        stored: tensors of the folder.
        config: content of its `config.json`.

    Raises:
        ValueError: if `config` describes quantised weights and there are none, or as for `dequantized`.
    """
    quantized = quantized_in(stored.described, source=stored.source)
    if (described := config.get("quantization_config")) and quantized.kind is None:
        raise ValueError(
            f"{stored.source}: its config.json describes weights in {described_kind(described, source=stored.source)}, "
            "but they are not quantised: take quantization_config out of it, and quantise them while loading"
        )
    return dequantized(stored, quantized, quantized.layers)


def quantized_decoder(stored: StoredTensors, published: Mapping[str, str]) -> StoredKind | None:
    """How the decoder of a folder's language model is quantised; None: it is not.

    Quantised layers of the image tower and the projector are logged, because they are dequantised.

    Args:
        stored: tensors of the folder.
        published: stored name of a weight -> name in the language model.
    """
    quantized = quantized_in(stored.described, source=stored.source)
    inside = {layer for layer in quantized.layers if DECODER.fullmatch(published.get(f"{layer}.weight", ""))}
    if outside := sorted(layer for layer in quantized.layers if f"{layer}.weight" not in published):
        logger.info(
            "%s: %d layers outside of the language model are quantised as %s, and dequantised while they are read, "
            "such as %s",
            stored.source,
            len(outside),
            quantized.kind,
            outside[0],
        )
    return quantized.kind if inside else None

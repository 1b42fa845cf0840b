"""Name vision-language models that cannot be opened by their kind, from their configuration alone."""

from collections.abc import Mapping
from typing import Any

from foveal.models.published import deepseek_ocr2_layout, got_layout, internvl_layout, minicpm_layout
from foveal.models.published.llava_layout import FAMILIES
from foveal.models.published.onevision_layout import KIND as ONEVISION
from foveal.models.published.qwen3_vl_layout import KIND as QWEN3_VL
from foveal.models.published.transformers_layout import KINDS as TRANSFORMERS

KINDS = (
    *(*TRANSFORMERS, ONEVISION, QWEN3_VL, *got_layout.KINDS, *deepseek_ocr2_layout.KINDS),
    *(*internvl_layout.KINDS, *minicpm_layout.KINDS),
)
TEXTS = ("text_config", "llm_config", "language_config")
"""Where configurations describe a language model beside `vision_config`."""


def refuse_unknown_kind(config: Mapping[str, Any], *, source: str) -> None:
    """Refuse a vision-language model of a kind that no layout here reads.

    Kinds are those that transformers knows as such, and all that describe an image tower beside a language model.
    Models in the layout of LLaVA's own code are left to their reader, and so are Vary's, which only tensor names tell.

    Args:
        config: content of `config.json`.
        source: named in the error.

    Raises:
        ValueError: naming the kind, and those that are known.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as THEIRS

    kind, known = config.get("model_type"), {*KINDS, *FAMILIES}
    texts = [described for key in TEXTS if isinstance(described := config.get(key), Mapping)]
    # CLIP and its relatives have a text tower beside the image tower.
    both = "vision_config" in config and any(not str(text.get("model_type")).endswith("text_model") for text in texts)
    if kind not in known and "mm_vision_tower" not in config and (kind in THEIRS or both) and not _is_clip(kind):
        raise ValueError(
            f"{source}: a vision-language model of kind {kind!r}, not known; known are {', '.join(KINDS)}, those of "
            f"LLaVA's own code ({', '.join(FAMILIES)}), and Vary"
        )


def _is_clip(kind: object) -> bool:
    return isinstance(kind, str) and kind.startswith(("clip", "siglip"))

"""What ViP-LLaVA (arXiv 2312.00784) has in both of its layouts: five layers of CLIP, and its prompts."""

from collections.abc import Mapping
from typing import Any

from foveal.models.prompts.template_texts import TemplateName

LAYERS = (-2, -5, -8, -11, 6)
"""Concatenated in this order (llava/model/multimodal_encoder/clip_4layer_encoder.py of its code)."""
CODE_NAME, TOWER = "clip_4layers_336", "openai/clip-vit-large-patch14-336"
"""`mm_vision_tower` in folders of its own code, and the tower that this stands for."""
PROMPT: tuple[TemplateName, str] = (
    "vicuna_v1",
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions.",
)
"""It was trained with LLaVA's `llava_v1` (scripts/finetune_stage3.sh of its code): vicuna_v1 with this system text."""
LLAMA_3 = 128_000
"""Vocabularies of this size and larger are LLaMA 3's, which has prompts of its own."""


def is_vip(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` of LLaVA's own code describes a ViP-LLaVA."""
    return config.get("mm_vision_tower") == CODE_NAME


def has_vicuna(config: Mapping[str, Any]) -> bool:
    """Whether that ViP-LLaVA answers with a Vicuna, as the published ones of 7B and 13B do."""
    return is_vip(config) and int(config.get("vocab_size", 0)) < LLAMA_3

"""The class of a causal language model: transformers' own, or our holder of a text model that has none there."""

from typing import Any

HELD = {"qwen3_vl_text": "Qwen3VLTextModel", "deepseek_ocr2_text": "DeepseekOcr2TextModel"}
"""transformers' `model_type` of a text model without a causal language model -> its class."""


def causal_class(config: Any) -> Any:
    """The class whose `from_config` and `from_pretrained` make the causal language model of `config`.

    Args:
        config: transformers' configuration of a language model, or of the text model of a vision-language model.
    """
    if config.model_type in HELD:
        from foveal.models.language_models.held import HeldLanguageModel

        return HeldLanguageModel
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM

"""Let a language model read rows that hold several samples: attention is causal inside each, with nothing between them.

transformers finds the samples by their position ids, which start at 0 in each, if there is neither an attention mask
nor a cache. OPT does not pass them on, so it gets a finished mask.
"""

from typing import Any

from torch import Tensor, nn

from foveal.models.language_models.packed_attention import NAMES, PACKED_SDPA, use_packed_sdpa
from foveal.models.language_models.rotary import growing_rotary
from foveal.models.prompts.batch import position_ids as counted

FAMILIES = ("gemma3_text", "granite", "llama", "mistral", "opt", "phi3", "qwen2", "qwen3", "qwen3_vl_text")
"""transformers' `model_type` of the language models whose packed samples are tested to be separate."""


def check_packing(language_model: nn.Module) -> None:
    """Refuse a language model in which packed samples could see each other.

    Raises:
        ValueError: if its family is not tested with packed samples, its rotary angles depend on other samples, or its
            attention does not separate samples.
    """
    model: Any = language_model
    config, name = model.config, type(language_model).__name__
    is_causal = getattr(config, "is_causal", True) and not getattr(config, "use_bidirectional_attention", False)
    if config.model_type not in FAMILIES or not is_causal:
        raise ValueError(
            f"samples cannot be packed for {name}: only causal models of {', '.join(FAMILIES)} are tested to keep them "
            "apart; train without packing"
        )
    if (rotary := growing_rotary(config)) is not None:
        raise ValueError(
            f"samples cannot be packed for {name}: its rotary embeddings ({rotary}) depend on the longest sample; "
            "train without packing"
        )
    kinds = ("sdpa", "eager") if config.model_type == "opt" else ("sdpa", "eager", PACKED_SDPA, *NAMES.values())
    if (kind := config._attn_implementation) not in kinds:
        raise ValueError(f"samples cannot be packed for {name} with the attention {kind!r}: use sdpa")


def attended(
    language_model: nn.Module, embeddings: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """The attention mask and the position ids that a language model is called with, without a cache.

    For packed rows, a language model with SDPA changes to the equivalent that attends to the samples one by one: with a
    mask of all pairs, torch would compute all of them.

    Args:
        language_model: a causal language model of transformers.
        embeddings: [batch, tokens, width].
        attention_mask: [batch, tokens], True at real tokens; None: all are real.
        position_ids: as in `Batch`.

    Returns:
        None or a mask, and None or position ids.

    Raises:
        ValueError: for packed rows, as `check_packing`.
    """
    if position_ids is None:
        return attention_mask, None if attention_mask is None else counted(attention_mask)
    if position_ids.shape[:-2] == (3,):
        return attention_mask, position_ids
    check_packing(language_model)
    model: Any = language_model
    if model.config.model_type == "opt":
        from transformers.masking_utils import create_causal_mask

        return create_causal_mask(model.config, embeddings, None, None, position_ids), position_ids
    if model.config._attn_implementation == "sdpa":
        use_packed_sdpa(model)
    return None, position_ids

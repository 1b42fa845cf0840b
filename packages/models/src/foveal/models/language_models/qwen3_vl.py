"""The language model of Qwen3-VL, with new weights."""

from typing import Any

from torch import nn

from foveal.models.language_models.build import zero_outputs
from foveal.models.language_models.causal import causal_class


def qwen3_vl_text(
    vocabulary: int,
    *,
    width: int,
    depth: int,
    heads: int,
    mlp_width: int,
    head_width: int | None = None,
    key_heads: int | None = None,
    context: int = 262144,
    rotary_base: float = 5e6,
    zero_output: bool = False,
) -> nn.Module:
    """A Qwen3 whose rotary positions have a time, a row and a column (Qwen3-VL, arXiv 2511.21631, section 2).

    The three take turns among the frequencies: of 64, time has 24, rows and columns 20 each.

    Args:
        vocabulary: rows of the embedding table, which is tied to the output layer.
        width: channels.
        depth: decoder layers.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        head_width: channels of a head; by default `width` divided by `heads`.
        key_heads: heads of keys and values; by default `heads`.
        context: longest sequence in tokens; by default that of the published models.
        rotary_base: base of the rotary frequencies.
        zero_output: initialise the output projections of attention and feed-forward to zero, so that every layer starts
            as the identity.
    """
    from transformers import Qwen3VLTextConfig

    of_head = width // heads if head_width is None else head_width
    rows = 5 * of_head // 32
    config: Any = Qwen3VLTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=mlp_width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        num_key_value_heads=heads if key_heads is None else key_heads,
        head_dim=of_head,
        max_position_embeddings=context,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": rotary_base,
            "mrope_section": [of_head // 2 - 2 * rows, rows, rows],
            "mrope_interleaved": True,
        },
        tie_word_embeddings=True,
    )
    model: Any = causal_class(config).from_config(config)
    if zero_output:
        zero_outputs(model)
    result: nn.Module = model
    return result

"""What a language model's rotary embeddings depend on, and what positions they take."""

from typing import Any

GROWING = ("dynamic", "longrope")
"""Types of rotary embeddings whose angles depend on the longest sequence that is read."""
ON_GRID = ("qwen3_vl_text",)
"""transformers' `model_type` of the language models with multimodal rotary positions: a time, a row and a column."""


def growing_rotary(config: Any) -> str | None:
    """The type of a language model's rotary embeddings if their angles depend on the longest sequence; else None.

    Args:
        config: transformers' configuration of the language model.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    # Gemma 3 has angles of its own for each kind of layer, by the kind's name.
    each = [described for described in rope.values() if isinstance(described, dict)] or [rope]
    return next((kind for described in each if (kind := described.get("rope_type")) in GROWING), None)


def takes_grid(config: Any) -> bool:
    """Whether a language model takes the time, row and column of each token as positions, [3, batch, tokens].

    Args:
        config: transformers' configuration of the language model.
    """
    return config.model_type in ON_GRID

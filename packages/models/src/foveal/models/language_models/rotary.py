"""What a language model's rotary embeddings depend on."""

from typing import Any

GROWING = ("dynamic", "longrope")
"""Types of rotary embeddings whose angles depend on the longest sequence that is read."""


def growing_rotary(config: Any) -> str | None:
    """The type of a language model's rotary embeddings if their angles depend on the longest sequence; else None.

    Args:
        config: transformers' configuration of the language model.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    # Gemma 3 has angles of its own for each kind of layer, by the kind's name.
    each = [described for described in rope.values() if isinstance(described, dict)] or [rope]
    return next((kind for described in each if (kind := described.get("rope_type")) in GROWING), None)

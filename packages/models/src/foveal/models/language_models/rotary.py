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
    kind: str | None = rope.get("rope_type")
    return kind if kind in GROWING else None

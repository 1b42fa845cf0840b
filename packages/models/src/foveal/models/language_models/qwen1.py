"""Read the first Qwen (arXiv 2309.16609), which transformers does not have, as the Qwen2 that computes the same."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from foveal.core import KeyMap, read_tensors

QWEN1 = KeyMap(
    {
        "model.embed_tokens.weight": "transformer.wte.weight",
        **{
            tuple(f"model.layers.{{}}.self_attn.{part}_proj.{kind}" for part in "qkv"): (
                f"transformer.h.{{}}.attn.c_attn.{kind}"
            )
            for kind in ("weight", "bias")
        },
        **{
            f"model.layers.{{}}.{qwen2}.weight": f"transformer.h.{{}}.{qwen1}.weight"
            for qwen2, qwen1 in {
                "input_layernorm": "ln_1",
                "post_attention_layernorm": "ln_2",
                "self_attn.o_proj": "attn.c_proj",
                # The SiLU is applied to w2, despite the numbering.
                "mlp.up_proj": "mlp.w1",
                "mlp.gate_proj": "mlp.w2",
                "mlp.down_proj": "mlp.c_proj",
            }.items()
        },
        "model.norm.weight": "transformer.ln_f.weight",
        "lm_head.weight": "lm_head.weight",
    }
)
"""Qwen2's names and the first Qwen's: `write` makes Qwen2's tensors from the first Qwen's, `read` is the inverse."""

BUFFERS = (".attn.bias", ".attn.masked_bias")
"""Causal masks in old files; they are not weights."""


def qwen2_tensors(tensors: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """The first Qwen's weights under Qwen2's names.

    Args:
        tensors: `transformer.wte.weight`, `transformer.h.0. ...`, `lm_head.weight`; masks are skipped.
        source: named in errors.

    Raises:
        ValueError: for names that the first Qwen does not have.
    """
    try:
        return QWEN1.write({name: tensor for name, tensor in tensors.items() if not name.endswith(BUFFERS)})
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def qwen2_config_of(config: Mapping[str, Any], *, source: str) -> Any:
    """Qwen2's configuration for a first Qwen.

    The two agree for sequences up to `seq_length`, which becomes the longest sequence: beyond it the first Qwen changes
    its rotary base and scales attention by the logarithm of the length.

    Args:
        config: contents of `config.json`; its `intermediate_size` counts both halves of the gated feed-forward layer.
        source: named in errors.

    Raises:
        ValueError: if a field is missing, or has a value that Qwen2 does not support.
    """
    from transformers import Qwen2Config

    needed = {
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "layer_norm_epsilon", "rotary_emb_base", "seq_length",
    }  # fmt: skip
    if missing := sorted(needed - set(config)):
        raise ValueError(f"{source}: not a configuration of the first Qwen, {missing} are missing")
    heads, width = config["num_attention_heads"], config["hidden_size"]
    for field, expected in {
        "kv_channels": width // heads,
        "rotary_pct": 1.0,
        "no_bias": True,
        "scale_attn_weights": True,
        "tie_word_embeddings": False,
    }.items():
        if config.get(field, expected) != expected:
            raise ValueError(f"{source}: {field} is {config[field]}, only {expected} can be converted to a Qwen2")
    return Qwen2Config(
        vocab_size=config["vocab_size"],
        hidden_size=width,
        intermediate_size=config["intermediate_size"] // 2,
        num_hidden_layers=config["num_hidden_layers"],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=config["seq_length"],
        rms_norm_eps=config["layer_norm_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": config["rotary_emb_base"]},
        tie_word_embeddings=False,
    )


def is_qwen1(folder: str | Path) -> bool:
    """Whether the `config.json` of `folder` describes the first Qwen."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        return False
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False  # a damaged file is reported where every model's configuration is read
    return isinstance(config, dict) and config.get("model_type") == "qwen"


def read_qwen1(folder: str | Path) -> tuple[Any, dict[str, Tensor]]:
    """Configuration and weights of a first Qwen's folder, as Qwen2's; none of its code is run.

    Raises:
        ValueError: if its files are not those of a first Qwen, or its weights are pickled.
    """
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    source = str(folder)
    return qwen2_config_of(config, source=source), qwen2_tensors(read_tensors(folder), source=source)

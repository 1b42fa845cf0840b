"""Language models of published sizes, with new weights.

Call a builder under `torch.device("meta")` for shapes alone.
"""

from typing import Any

from torch import nn

from foveal.models import llama, opt
from foveal.models.language_models.causal import causal_class
from foveal.models.language_models.qwen1 import qwen2_config_of

CONTEXT = 4096


def vicuna_7b() -> nn.Module:
    """Vicuna-7B v1.5."""
    return llama(32000, width=4096, depth=32, heads=32, mlp_width=11008, context=CONTEXT)


def vicuna_13b() -> nn.Module:
    """Vicuna-13B v1.5."""
    return llama(32000, width=5120, depth=40, heads=40, mlp_width=13824, context=CONTEXT)


def deepseek_7b() -> nn.Module:
    """DeepSeek LLM 7B (arXiv 2401.02954, section 2.2)."""
    return llama(102400, width=4096, depth=30, heads=32, mlp_width=11008, context=CONTEXT)


def qwen_7b() -> nn.Module:
    """Qwen-7B, as the Qwen2 that computes the same; its table has more rows than the 151,860 tokens that Vary uses."""
    from transformers import Qwen2ForCausalLM

    config = {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "layer_norm_epsilon": 1e-6,
        "rotary_emb_base": 10000,
        "seq_length": 8192,
    }
    model: nn.Module = Qwen2ForCausalLM(qwen2_config_of(config, source="Qwen-7B"))
    return model


def qwen_500m() -> nn.Module:
    """Qwen1.5-0.5B with the 151,860 tokens of GOT-OCR 2.0, and tied tables (its released configuration)."""
    return _of_kind(
        "qwen2",
        vocab_size=151860,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=24,
        num_attention_heads=16,
        num_key_value_heads=16,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
    )


def deepseek_3b_of_experts() -> nn.Module:
    """DeepSeek-OCR 2's language model (its released configuration): 64 experts in all layers but the first."""
    return _of_kind(
        "deepseek_ocr2_text",
        vocab_size=129_280,
        hidden_size=1280,
        intermediate_size=6848,
        num_hidden_layers=12,
        num_attention_heads=10,
        num_key_value_heads=10,
        max_position_embeddings=8192,
        n_routed_experts=64,
        n_shared_experts=2,
        num_experts_per_tok=6,
        moe_intermediate_size=896,
        mlp_layer_types=["dense"] + ["sparse"] * 11,
    )


def opt_125m() -> nn.Module:
    """OPT-125M with Vary-tiny's three new tokens and its positions for 4096 tokens."""
    return opt(50268, width=768, depth=12, heads=12, mlp_width=3072, context=CONTEXT)


def internvl3_1b() -> nn.Module:
    """The language model of InternVL3-1B: Qwen2.5-0.5B with nine more tokens and an output layer of its own."""
    return _of_kind(
        "qwen2",
        vocab_size=151674,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32768,
    )


def qwen3_5_800m() -> nn.Module:
    """Qwen3.5-0.8B with the 248,094 tokens of MiniCPM-V 4.6 (its released configuration)."""
    return _of_kind(
        "qwen3_5_text",
        vocab_size=248094,
        hidden_size=1024,
        intermediate_size=3584,
        num_hidden_layers=24,
        num_attention_heads=8,
        num_key_value_heads=2,
        linear_num_value_heads=16,
        max_position_embeddings=262144,
        tie_word_embeddings=True,
    )


def part(name: str) -> dict[str, Any]:
    """The settings of a language model in this file."""
    return {"class_path": f"{__name__}.{name}", "init_args": {}}


def _of_kind(kind: str, **sizes: Any) -> nn.Module:
    """A language model by transformers' `model_type`, in sizes under the names of its configuration."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind, **sizes)
    model: nn.Module = causal_class(config).from_config(config)
    return model

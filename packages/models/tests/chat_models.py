"""Chat models of today, tiny, with their templates: Gemma 3, Phi-4-mini, SmolLM2, Granite, Qwen3."""

from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

SIZES = {
    "vocab_size": 280,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "pad_token_id": 3,
}
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ first if loop.first else '' }}{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI_4 = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% else %}{{ eos_token }}{% endif %}"
)
SMOLLM = (
    "{% for m in messages %}{% if loop.first and messages[0].role != 'system' %}<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GRANITE = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}{% else %}"
    "{% set system = 'Knowledge Cutoff Date: April 2024.\nToday\\'s Date: ' + strftime_now('%B %d, %Y') + '.\n"
    "You are Granite, developed by IBM. You are a helpful AI assistant.' %}{% set rest = messages %}{% endif %}"
    "<|start_of_role|>system<|end_of_role|>{{ system }}<|end_of_text|>\n"
    "{% for m in rest %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<|end_of_text|>\n"
    "{% if loop.last and add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}{% endfor %}"
)
QWEN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""What the published templates write for turns of text; their branches for tools and documents are left out."""


def gemma_3():
    layers = ["sliding_attention", "full_attention"]
    settings = {"head_dim": 32, "query_pre_attn_scalar": 32, "layer_types": layers, "sliding_window": 8}
    return Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, **settings))


def phi_4_mini():
    long = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 512,
        "short_factor": [1.0] * 12,
        "long_factor": [2.0] * 12,
    }
    return Phi3ForCausalLM(Phi3Config(**SIZES, rope_parameters=long, sliding_window=262144))


def granite():
    multipliers = {"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 8.0}
    return GraniteForCausalLM(GraniteConfig(**SIZES, **multipliers, attention_multiplier=0.03))


def qwen_3():
    return Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=32))


def smollm_2():
    return LlamaForCausalLM(LlamaConfig(**SIZES))


CHATML = ("<|im_start|>", "<|im_end|>")
KINDS = {
    "gemma 3": (gemma_3, GEMMA, ("<start_of_turn>", "<end_of_turn>"), "<end_of_turn>\n"),
    "phi-4-mini": (phi_4_mini, PHI_4, ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>"), "<|end|></s>"),
    "smollm2": (smollm_2, SMOLLM, CHATML, "<|im_end|>\n"),
    "granite": (
        granite,
        GRANITE,
        ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
        "<|end_of_text|>\n",
    ),
    "qwen3": (qwen_3, QWEN, CHATML, "<|im_end|>\n"),
}
LINEARS = {"phi-4-mini": 4}
"""Linear layers of a decoder layer, if they are not 7."""

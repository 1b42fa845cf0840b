"""Causal language models and tokenizers by name, for code and for `class_path`."""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

DType = Literal["auto", "float32", "bfloat16", "float16"]


def llama(
    vocabulary: int,
    *,
    width: int,
    depth: int,
    heads: int,
    mlp_width: int,
    context: int = 2048,
    norm_eps: float = 1e-5,
) -> nn.Module:
    """A LLaMA with new weights (arXiv 2302.13971).

    Width 4096, depth 32, heads 32 and mlp_width 11008 make the shape of Vicuna-7B.

    Args:
        vocabulary: rows of the embedding table.
        width: channels.
        depth: decoder layers.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        context: longest sequence in tokens.
        norm_eps: epsilon of the RMS norms.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    model: nn.Module = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=mlp_width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            max_position_embeddings=context,
            rms_norm_eps=norm_eps,
        )
    )
    return model


def qwen3(
    vocabulary: int,
    *,
    width: int,
    depth: int,
    heads: int,
    mlp_width: int,
    context: int = 2048,
    zero_output: bool = False,
) -> nn.Module:
    """A Qwen3 with new weights (arXiv 2505.09388): a LLaMA whose queries and keys are normalised, which trains faster.

    Args:
        vocabulary: rows of the embedding table, which is tied to the output's.
        width: channels.
        depth: decoder layers.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        context: longest sequence in tokens.
        zero_output: start the output projections of attention and feed-forward at zero, so that every layer begins as
            the identity.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    model: Any = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=mlp_width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            head_dim=width // heads,
            max_position_embeddings=context,
            tie_word_embeddings=True,
        )
    )
    if zero_output:
        for layer in model.model.layers:
            nn.init.zeros_(layer.self_attn.o_proj.weight)
            nn.init.zeros_(layer.mlp.down_proj.weight)
    result: nn.Module = model
    return result


def pretrained_language_model(name_or_folder: str, *, dtype: DType = "auto") -> nn.Module:
    """A causal language model from a local folder or by its hub name; safetensors only, no code from the hub.

    Args:
        name_or_folder: folder in transformers' layout, or hub name.
        dtype: of the weights; `auto`: as they were stored.

    Raises:
        ValueError: if a tensor is missing, unexpected or wrongly shaped: nothing is initialised anew in its place.
        OSError: if there is no such folder or name.
    """
    from transformers import AutoModelForCausalLM

    model, loading = AutoModelForCausalLM.from_pretrained(
        name_or_folder,
        dtype="auto" if dtype == "auto" else getattr(torch, dtype),
        use_safetensors=True,
        trust_remote_code=False,
        # Not to use them: only so does the library say which ones they are.
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading[fault]:
            names = sorted(str(name) for name in loading[fault])
            raise ValueError(
                f"{name_or_folder}: {len(names)} {fault.replace('_keys', '')} tensors, among them {names[:5]}"
            )
    result: nn.Module = model
    return result


def pretrained_tokenizer(name_or_folder: str) -> PreTrainedTokenizerBase:
    """A tokenizer from a local folder or by its hub name; no code from the hub. Padding is `<unk>` where it has none.

    Args:
        name_or_folder: folder with a tokenizer's files, or hub name. A folder that has only a `tokenizer.model` is
            taken for LLaMA's, which puts `<s>` in front.

    Raises:
        ValueError: if it has neither a padding nor an unknown token.
        OSError: if there is no such folder or name.
    """
    from transformers import AutoTokenizer, LlamaTokenizer

    folder = Path(name_or_folder)
    tokenizer: PreTrainedTokenizerBase
    if (folder / "tokenizer.model").is_file() and not (folder / "tokenizer_config.json").exists():
        tokenizer = LlamaTokenizer.from_pretrained(name_or_folder, add_bos_token=True)
    else:
        tokenizer = AutoTokenizer.from_pretrained(name_or_folder, trust_remote_code=False)
    if tokenizer.pad_token is None:
        if tokenizer.unk_token is None:
            raise ValueError(f"{name_or_folder}: the tokenizer has neither a padding nor an unknown token to pad with")
        tokenizer.pad_token = tokenizer.unk_token
    return tokenizer

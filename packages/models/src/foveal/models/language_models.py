"""Causal language models and tokenizers by name, for code and for `class_path`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from foveal.models.qwen1 import is_qwen1, read_qwen1
from foveal.models.tokenize import add_special_tokens

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


def opt(vocabulary: int, *, width: int, depth: int, heads: int, mlp_width: int, context: int = 2048) -> nn.Module:
    """An OPT with new weights (arXiv 2205.01068): learned positions, and dropout of 0.1 while it is trained.

    Width 768, depth 12, heads 12, mlp_width 3072 and a vocabulary of 50272 make the shape of OPT-125M.

    Args:
        vocabulary: rows of the embedding table, which is tied to the output's.
        width: channels.
        depth: decoder layers.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        context: longest sequence in tokens.
    """
    from transformers import OPTConfig, OPTForCausalLM

    model: nn.Module = OPTForCausalLM(
        OPTConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            word_embed_proj_dim=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            ffn_dim=mlp_width,
            max_position_embeddings=context,
            # OPT's own id for padding is 1, another token in other vocabularies, and its embedding would never learn.
            pad_token_id=None,
        )
    )
    return model


def pretrained_language_model(
    name_or_folder: str, *, dtype: DType = "auto", vocabulary: int | None = None, context: int | None = None
) -> nn.Module:
    """A causal language model from a local folder or by its hub name; safetensors only, no code from the hub.

    A local folder may also hold the first Qwen, which becomes a Qwen2.

    Args:
        name_or_folder: folder in transformers' layout, or hub name.
        dtype: of the weights; `auto`: as they were stored.
        vocabulary: rows for tokens, for a tokenizer with new ones; new rows begin as the mean of all others.
        context: longest sequence in tokens, for an OPT, whose table of learned positions is stretched linearly.

    Raises:
        ValueError: if a tensor is missing, unexpected or wrongly shaped: nothing is initialised anew in its place; if
            `vocabulary` or `context` is less than the model's, or it has no learned positions that could be stretched.
        OSError: if there is no such folder or name.
    """
    from transformers import AutoModelForCausalLM, Qwen2ForCausalLM

    options: dict[str, Any] = {
        "dtype": "auto" if dtype == "auto" else getattr(torch, dtype),
        # Not to use them: only so does the library say which ones they are.
        "ignore_mismatched_sizes": True,
        "output_loading_info": True,
    }
    model: Any
    if is_qwen1(name_or_folder):
        config, tensors = read_qwen1(name_or_folder)
        model, loading = Qwen2ForCausalLM.from_pretrained(None, config=config, state_dict=tensors, **options)
    else:
        model, loading = AutoModelForCausalLM.from_pretrained(
            name_or_folder, use_safetensors=True, trust_remote_code=False, **options
        )
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading[fault]:
            names = sorted(str(name) for name in loading[fault])
            raise ValueError(
                f"{name_or_folder}: {len(names)} {fault.replace('_keys', '')} tensors, among them {names[:5]}"
            )
    if vocabulary is not None:
        _add_rows(model, vocabulary, name_or_folder)
    if context is not None:
        _stretch_positions(model, context, name_or_folder)
    result: nn.Module = model
    return result


def _add_rows(model: Any, vocabulary: int, source: str) -> None:
    """More rows for tokens, at the input and the output, which may be one table."""
    known = model.get_input_embeddings().weight.shape[0]
    if vocabulary < known:
        raise ValueError(f"{source} has {known} rows for tokens, a vocabulary of {vocabulary} would drop some of them")
    model.resize_token_embeddings(vocabulary, mean_resizing=False)
    with torch.no_grad():
        for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            table[known:] = table[:known].mean(dim=0, dtype=torch.float32)


def _stretch_positions(model: Any, context: int, source: str) -> None:
    """OPT's table of positions [2 + tokens, width] for longer sequences; what its first two rows hold is no position.

    Vary-tiny (arXiv 2312.06109) says that the table was interpolated, not how: linearly, from the first to the last.
    """
    if model.config.model_type != "opt":
        raise ValueError(
            f"{source} is a {model.config.model_type}, without a table of learned positions to be stretched to a "
            f"context of {context}; only an OPT has one"
        )
    known = model.config.max_position_embeddings
    if context < known:
        raise ValueError(f"{source} has positions for {known} tokens, a context of {context} would be shorter")
    table = model.model.decoder.embed_positions
    old = table.weight.detach()
    places = old[table.offset :].double().T[None]
    stretched = F.interpolate(places, size=context, mode="linear", align_corners=True)[0].T
    table.weight = nn.Parameter(torch.cat([old[: table.offset], stretched.to(old.dtype)]))
    table.num_embeddings = len(table.weight)
    model.config.max_position_embeddings = context


def pretrained_tokenizer(name_or_folder: str, tokens: Sequence[str] = ()) -> PreTrainedTokenizerBase:
    """A tokenizer from a local folder or by its hub name; no code from the hub. Padding is `<unk>` where it has none.

    Args:
        name_or_folder: folder with a tokenizer's files, or hub name. A folder that has only a `tokenizer.model` is
            taken for LLaMA's, which puts `<s>` in front.
        tokens: special tokens to be added; those that it has keep their ids.

    Raises:
        ValueError: if it has neither a padding nor an unknown token, or does not take one of `tokens`.
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
    add_special_tokens(tokens, tokenizer)
    return tokenizer

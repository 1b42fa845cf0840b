"""Build causal language models, from code or by `class_path`."""

import json
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from foveal.core import StoredTensors
from foveal.encoders.hub import folder_of
from foveal.models.foreign_code import config_without_code, no_code_of
from foveal.models.language_models.causal import causal_class
from foveal.models.language_models.quantize import Kind, recorded_kind
from foveal.models.language_models.quantized_loading import load_quantized
from foveal.models.language_models.qwen1 import is_qwen1, qwen2_config_of, qwen2_tensors, read_qwen1
from foveal.models.language_models.resize import add_rows, stretch_positions
from foveal.models.language_models.stored_quantization import check_quantization
from foveal.models.language_models.stored_sizes import check_loaded, check_sizes
from foveal.models.language_models.text_part import load_text_part, text_config_of
from foveal.models.library_errors import told_of

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
    key_heads: int | None = None,
) -> nn.Module:
    """A LLaMA with new weights (arXiv 2302.13971).

    Width 4096, depth 32, heads 32 and mlp_width 11008 give the shape of Vicuna-7B.

    Args:
        vocabulary: rows of the embedding table.
        width: channels.
        depth: decoder layers.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        context: longest sequence in tokens.
        norm_eps: epsilon of the RMS norms.
        key_heads: heads of keys and values, each shared by several query heads (arXiv 2305.13245); by default `heads`.

    Raises:
        ValueError: if `key_heads` does not divide `heads`.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    if key_heads is not None and (key_heads < 1 or heads % key_heads):
        raise ValueError(f"heads {heads} is not a multiple of key_heads {key_heads}")
    model: nn.Module = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=mlp_width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            num_key_value_heads=key_heads,
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
        vocabulary: rows of the embedding table, which is tied to the output layer.
        width: channels.
        depth: decoder layers.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        context: longest sequence in tokens.
        zero_output: initialise the output projections of attention and feed-forward to zero, so that every layer starts
            as the identity.
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
        zero_outputs(model)
    result: nn.Module = model
    return result


def zero_outputs(language_model: Any) -> None:
    """Set the output projections of attention and feed-forward to zero: every layer is then the identity."""
    for layer in language_model.model.layers:
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        nn.init.zeros_(layer.mlp.down_proj.weight)


def opt(vocabulary: int, *, width: int, depth: int, heads: int, mlp_width: int, context: int = 2048) -> nn.Module:
    """An OPT with new weights (arXiv 2205.01068): learned positions, and dropout of 0.1 during training.

    Width 768, depth 12, heads 12, mlp_width 3072 and a vocabulary of 50272 give the shape of OPT-125M.

    Args:
        vocabulary: rows of the embedding table, which is tied to the output layer.
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
            # OPT's default padding id is 1, an ordinary token in other vocabularies whose embedding would never learn.
            pad_token_id=None,
        )
    )
    return model


def pretrained_language_model(
    name_or_folder: str,
    *,
    dtype: DType = "auto",
    vocabulary: int | None = None,
    context: int | None = None,
    quantize: Kind | None = None,
) -> nn.Module:
    """Load a causal language model from a local folder or by its hub name; safetensors only, no code from the hub.

    A local folder may also hold the first Qwen, which becomes a Qwen2. Of a vision-language model, such as Gemma 3 from
    4 billion parameters on, only the text model is read. On the meta device only the configuration is
    read, and nothing is quantised.

    Args:
        name_or_folder: folder in transformers' layout, or hub name.
        dtype: dtype of the weights; `auto`: as they were stored.
        vocabulary: number of token rows, for a tokenizer with new tokens; new rows start as the mean of all others.
        context: longest sequence in tokens, for an OPT, whose table of learned positions is stretched linearly.
        quantize: how the decoder's linear layers are quantised while they are read, which leaves a quarter (or a half)
            of their memory; null: not, or as they were stored.

    Raises:
        ValueError: if a tensor is missing, unexpected or of another shape (nothing is newly initialised instead); if
            `vocabulary` or `context` is smaller than the model's, or there are no learned positions to stretch; if the
            model cannot be quantised as requested; if the folder's configuration is damaged or describes other sizes
            than are stored, which is found before memory is allocated for them.
        OSError: if there is no such name.
        ImportError: if it is to be quantised, and bitsandbytes is not installed.
    """
    with told_of(name_or_folder, "its config.json is damaged or describes no language model"):
        config = _config_of(name_or_folder)
    model: Any
    if (text := text_config_of(config)) is not None:
        model = load_text_part(name_or_folder, text, kind=quantize, dtype=_torch_dtype(dtype))
    elif torch.get_default_device().type == "meta":
        model = causal_class(config).from_config(
            config, dtype=_torch_dtype(dtype) or config.dtype, trust_remote_code=False
        )
    elif quantize is not None or recorded_kind(config) is not None:
        model = load_quantized(
            StoredTensors(folder_of(name_or_folder)),
            config,
            kind=quantize,
            dtype=_torch_dtype(dtype),
            **({"rename": partial(qwen2_tensors, source=name_or_folder)} if is_qwen1(name_or_folder) else {}),
        )
    else:
        model = _load_as_stored(name_or_folder, config, _torch_dtype(dtype))
    if vocabulary is not None:
        add_rows(model, vocabulary, name_or_folder)
    if context is not None:
        stretch_positions(model, context, name_or_folder)
    result: nn.Module = model
    return result


def _torch_dtype(dtype: DType) -> torch.dtype | None:
    return None if dtype == "auto" else getattr(torch, dtype)


def _config_of(name_or_folder: str) -> Any:
    if is_qwen1(name_or_folder):
        described = json.loads((Path(name_or_folder) / "config.json").read_text(encoding="utf-8"))
        return qwen2_config_of(described, source=name_or_folder)
    config = config_without_code(name_or_folder)
    check_quantization(config.to_dict(), source=name_or_folder)
    return config


def _load_as_stored(name_or_folder: str, config: Any, dtype: torch.dtype | None) -> Any:
    from transformers import Qwen2ForCausalLM

    options: dict[str, Any] = {
        "dtype": dtype or "auto",
        # Mismatched tensors are not used; only with this option does the library report which ones they are.
        "ignore_mismatched_sizes": True,
        "output_loading_info": True,
    }
    model: Any
    if is_qwen1(name_or_folder):
        config, tensors = read_qwen1(name_or_folder)
        check_sizes(config, tensors, name_or_folder)
        model, loading = Qwen2ForCausalLM.from_pretrained(None, config=config, state_dict=tensors, **options)
    else:
        if Path(name_or_folder).is_dir():
            check_sizes(config, StoredTensors(name_or_folder).described, name_or_folder)
        with told_of(name_or_folder, "it cannot be loaded"), no_code_of(name_or_folder):
            model, loading = causal_class(config).from_pretrained(
                name_or_folder, config=config, use_safetensors=True, trust_remote_code=False, **options
            )
    check_loaded(loading, name_or_folder)
    return model

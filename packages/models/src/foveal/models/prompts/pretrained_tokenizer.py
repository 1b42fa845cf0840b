"""Load tokenizers by name."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from foveal.models.foreign_code import AUTO_MAP, no_code_of
from foveal.models.library_errors import told_of
from foveal.models.prompts.sentencepiece_tokenizer import sentencepiece_tokenizer
from foveal.models.prompts.tokenize import add_special_tokens

MODEL, WHOLE, CONFIG = "tokenizer.model", "tokenizer.json", "tokenizer_config.json"
LEGACY_CONFIGS = ("special_tokens_map.json", "added_tokens.json")
LLAMA = ("LlamaTokenizer", "LlamaTokenizerFast", None)
"""Classes that a folder may name whose `tokenizer.model` is read here; None: it names none."""


def pretrained_tokenizer(name_or_folder: str, tokens: Sequence[str] = ()) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a local folder or by its hub name, without code from the hub.

    A tokenizer without a padding token pads with its unknown token, or else with EOS, as for LLaMA 3: padding is masked
    everywhere. LLaMA's tokenizer is built from its `tokenizer.model`, with the ids of sentencepiece, unless there is a
    `tokenizer.json`, which is used as it is.

    Args:
        name_or_folder: folder with a tokenizer's files, or hub name. A folder that has only a `tokenizer.model` is
            read as LLaMA's tokenizer, which prepends `<s>`.
        tokens: special tokens to add; those that the tokenizer already has keep their ids.

    Raises:
        ValueError: if it has no token to pad with, does not accept one of `tokens`, or the folder's files cannot be
            read.
        OSError: if there is no such name.
    """
    tokenizer: PreTrainedTokenizerBase
    with told_of(name_or_folder, "the tokenizer's files are damaged, or there are none"), no_code_of(name_or_folder):
        tokenizer = _read(name_or_folder)
        # A setting of another type, such as a text as model_max_length, is only noticed when it is used.
        tokenizer("")
    # The library has a class of its own, and a checkpoint should not say otherwise.
    tokenizer.init_kwargs.pop(AUTO_MAP, None)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ValueError(f"{name_or_folder}: the tokenizer has no padding, unknown or EOS token to pad with")
    add_special_tokens(tokens, tokenizer)
    return tokenizer


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """What a folder's files say about its tokenizer, in the form of `tokenizer_config.json`.

    Raises:
        ValueError: if a file is damaged.
    """
    stated, special, added = ({**_json(folder / name)} for name in (CONFIG, *LEGACY_CONFIGS))
    before = {str(number): text for text, number in added.items()}
    return stated | special | {"added_tokens_decoder": before | (stated.get("added_tokens_decoder") or {})}


def _read(name: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerFast

    folder = _folder_of(name)
    if folder is not None and (folder / MODEL).is_file() and not (folder / WHOLE).exists():
        settings = tokenizer_settings(folder)
        kind = settings.get("tokenizer_class")
        if kind in LLAMA and (kind or AUTO_MAP not in settings):
            return sentencepiece_tokenizer(folder / MODEL, settings)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    if isinstance(tokenizer, LlamaTokenizer) and folder is not None and (folder / WHOLE).is_file():
        # This class takes only vocabulary and merges from the file, and spaces are then treated in another way.
        return PreTrainedTokenizerFast.from_pretrained(name)
    return tokenizer


def _folder_of(name: str) -> Path | None:
    """The folder with the tokenizer's files; None: there is no such hub model, or it cannot be reached."""
    from huggingface_hub import snapshot_download

    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(name, allow_patterns=[MODEL, WHOLE, CONFIG, *LEGACY_CONFIGS]))
    except (OSError, ValueError):
        return None  # transformers says why when it is asked for the name


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} holds {type(content).__name__}, not settings by name")
    return content

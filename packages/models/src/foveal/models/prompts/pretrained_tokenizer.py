"""Load tokenizers by name."""

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from foveal.models.foreign_code import AUTO_MAP, no_code_of
from foveal.models.library_errors import told_of
from foveal.models.prompts.tokenize import add_special_tokens


def pretrained_tokenizer(name_or_folder: str, tokens: Sequence[str] = ()) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a local folder or by its hub name, without code from the hub.

    A tokenizer without a padding token pads with `<unk>`.

    Args:
        name_or_folder: folder with a tokenizer's files, or hub name. A folder that has only a `tokenizer.model` is
            read as LLaMA's tokenizer, which prepends `<s>`.
        tokens: special tokens to add; those that the tokenizer already has keep their ids.

    Raises:
        ValueError: if it has neither a padding nor an unknown token, does not accept one of `tokens`, or the folder's
            files cannot be read.
        OSError: if there is no such name.
    """
    from transformers import AutoTokenizer, LlamaTokenizer

    folder = Path(name_or_folder)
    tokenizer: PreTrainedTokenizerBase
    with told_of(name_or_folder, "the tokenizer's files are damaged, or there are none"), no_code_of(name_or_folder):
        if (folder / "tokenizer.model").is_file() and not (folder / "tokenizer_config.json").exists():
            tokenizer = LlamaTokenizer.from_pretrained(name_or_folder, add_bos_token=True)
        else:
            tokenizer = AutoTokenizer.from_pretrained(name_or_folder, trust_remote_code=False)
    # The library has a class of its own, and a checkpoint should not say otherwise.
    tokenizer.init_kwargs.pop(AUTO_MAP, None)
    if tokenizer.pad_token is None:
        if tokenizer.unk_token is None:
            raise ValueError(f"{name_or_folder}: the tokenizer has neither a padding nor an unknown token to pad with")
        tokenizer.pad_token = tokenizer.unk_token
    add_special_tokens(tokens, tokenizer)
    return tokenizer

"""The tokenizer of a published folder, with the ids that its weights were trained with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from foveal.models.prompts.pretrained_tokenizer import pretrained_tokenizer
from foveal.models.prompts.tokenize import add_special_tokens
from foveal.models.published import qwen_tokenizer
from foveal.models.published.recipe import Draft


def folder_tokenizer(name: str, folder: Path, draft: Draft, config: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Load a folder's tokenizer.

    A token that was trained and is missing is not added: its new id would choose another token's row, or one that was
    never trained, and the model would answer without an error.

    Args:
        name: folder or hub name of the tokenizer.
        folder: the same as a folder.
        draft: says which tokens the model was trained with.
        config: content of `config.json`.

    Raises:
        ValueError: if the tokenizer cannot be read, lacks such a token, or gives it another id than `config.json`.
        OSError: if there is no tokenizer.
    """
    ranks = folder / qwen_tokenizer.FILE
    if ranks.is_file() and not (folder / "tokenizer.json").exists():
        tokenizer = qwen_tokenizer.qwen_tokenizer(ranks)
    else:
        tokenizer = pretrained_tokenizer(name)
    _check(tokenizer, draft, config, source=name)
    # Those that it has become special tokens, which texts are split at, and keep their ids.
    add_special_tokens((*draft.tokens, *draft.added_tokens), tokenizer)
    return tokenizer


def _check(tokenizer: PreTrainedTokenizerBase, draft: Draft, config: Mapping[str, Any], *, source: str) -> None:
    known = tokenizer.get_vocab()
    if missing := [token for token in draft.tokens if token not in known]:
        raise ValueError(
            f"{source}: the tokenizer lacks {', '.join(missing)}, which the model was trained with: the folder is "
            "incomplete, take all of the tokenizer's files from where it was published"
        )
    for field, token in draft.token_fields.items():
        stated = config.get(field)
        # A negative number says that the id is not known. A missing token that no prompt has cannot be mistaken for
        # another: in old folders of transformers' LLaVA, <image> is not in the tokenizer.
        if isinstance(stated, int) and stated >= 0 and token in known and known[token] != stated:
            raise ValueError(
                f"{source}: {field} is {stated} in config.json, but {known[token]} is the tokenizer's id of {token}: "
                "the tokenizer is not the one that the model was trained with"
            )

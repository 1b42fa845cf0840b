"""The tokenizer in a checkpoint folder, and what folders of earlier versions may have wrong in it."""

import json
import logging
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from foveal.models.library_errors import told_of
from foveal.models.prompts.pretrained_tokenizer import MODEL, WHOLE, pretrained_tokenizer, tokenizer_settings
from foveal.models.prompts.sentencepiece_tokenizer import sentencepiece_tokenizer

logger = logging.getLogger(__name__)
TOKENIZER_FORMAT = 2
"""`tokenizer_format` in `config.yaml`. In a folder without it, transformers may have converted a `tokenizer.model`."""


def open_tokenizer(folder: Path, tokenizer_format: int) -> PreTrainedTokenizerBase:
    """Open the tokenizer in a checkpoint.

    Before format 2, LLaMA's tokenizer was saved with other ids than sentencepiece's for runs of spaces and for a text
    right after a picture. It is built anew if somebody has put the `tokenizer.model` into the folder. Otherwise it is
    used as it is, because a model that was trained with it has learnt its ids, and a warning says what to do.

    Raises:
        ValueError: if there is none, it cannot be read, or a later version wrote it.
    """
    if tokenizer_format > TOKENIZER_FORMAT:
        raise ValueError(f"{folder}: tokenizer_format {tokenizer_format}, this version reads up to {TOKENIZER_FORMAT}")
    if tokenizer_format < TOKENIZER_FORMAT and (added := _added_tokens(folder / WHOLE)) is not None:
        if (folder / MODEL).is_file():
            logger.info("%s: the tokenizer is built from %s instead of %s", folder, MODEL, WHOLE)
            return _rebuilt(folder, added)
        logger.warning(
            "%s was written by an earlier version: it may give other ids than LLaMA's own code to runs of spaces and "
            "to text right after a picture. If the model was not trained with these ids, copy the language model's %s "
            "into this folder: the tokenizer is then built from that.",
            folder,
            MODEL,
        )
    return pretrained_tokenizer(str(folder))


def _rebuilt(folder: Path, added: dict[str, Any]) -> PreTrainedTokenizerBase:
    with told_of(str(folder), "the tokenizer's files are damaged"):
        return sentencepiece_tokenizer(folder / MODEL, tokenizer_settings(folder) | {"added_tokens_decoder": added})


def _added_tokens(path: Path) -> dict[str, Any] | None:
    """The added tokens by id, if a `tokenizer.json` is one that transformers makes of a `tokenizer.model`; else None.

    Those replace unknown characters by bytes, and do not put a space before every text.
    """
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        if whole["model"].get("byte_fallback") is not True or '"Prepend"' in json.dumps(whole["normalizer"]):
            return None
        return {str(token["id"]): token for token in whole["added_tokens"]}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return None  # `pretrained_tokenizer` says what is wrong

"""Build the first Qwen's tokenizer from its `qwen.tiktoken`, without running the code published with it."""

import base64
import binascii
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from foveal.models.prompts.tokenize import add_special_tokens

FILE = "qwen.tiktoken"
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Splits text before bytes are merged (Qwen, arXiv 2309.16609, section 2.2: numbers digit by digit)."""
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    *(f"<|extra_{number}|>" for number in range(205)),
    *("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>"),
    *("<img>", "</img>", "<imgpad>"),
)
"""After the file's 151643; the last three are Vary's, which its code knows only by number (arXiv 2312.06109)."""


def qwen_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """Build a tokenizer from a file of tokens and their ranks.

    Raises:
        ValueError: if the file is damaged, or its ranks are not 0, 1, 2 ...
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ranks = _ranks(Path(path))
    letters = _letters()

    def written(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    # Two neighbours are merged if together they are a token, the one of the lowest rank first.
    merges = [
        (written(token[:place]), written(token[place:]))
        for token in ranks
        for place in range(1, len(token))
        if token[:place] in ranks and token[place:] in ranks
    ]
    tokenizer = Tokenizer(models.BPE({written(token): rank for token, rank in ranks.items()}, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    fast: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    add_special_tokens(SPECIAL, fast)
    return fast


def _ranks(path: Path) -> dict[bytes, int]:
    """Tokens in the order of their ranks."""
    ranks: dict[bytes, int] = {}
    try:
        for line in path.read_bytes().splitlines():
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"{path} is damaged or not a list of tokens and ranks: {error}") from error
    if sorted(ranks.values()) != list(range(len(ranks))) or len(ranks) < 256:
        raise ValueError(f"{path}: {len(ranks)} tokens whose ranks are not 0, 1, 2 ...")
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def _letters() -> list[str]:
    """The letter for every byte in byte-level vocabularies: the byte itself, or a letter after all bytes."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in shown else chr(next(hidden)) for byte in range(256)]

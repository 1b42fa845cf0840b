"""Build LLaMA's tokenizer from its `tokenizer.model`, with the ids that sentencepiece gives.

transformers 5.23 orders the merges by id instead of by score, and puts no space before a text that begins with one:
runs of spaces and a text right after a picture get other ids, without a message.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase

SPACE = "▁"
"""How sentencepiece writes a space."""
BPE, NORMAL, CONTROL, USER_DEFINED, UNUSED = 2, 1, 3, 4, 5
"""sentencepiece's numbers for the kind of a model, and for the kinds of its pieces (sentencepiece_model.proto)."""
CHECKED = (
    *(" " * length + end for length in (1, 2, 3, 5, 8, 17) for end in ("", "a")),
    *("Hi  Hello", "trailing  ", "a  b   c    d", "def f():\n    return  1", "a\tb\r\n\n\nc", "\nWhat is this?", "\n"),
    *("-----", "======", "| a  | b |", "1,250.00 €", "don't", "é naïve Straße", "日本語 😀", "№ ½ \u00a0 \u200b x"),
)
"""Texts whose ids are compared with sentencepiece's own whenever a tokenizer is built."""


def sentencepiece_tokenizer(file: str | Path, settings: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """Build a tokenizer from sentencepiece's file, and compare it with sentencepiece on a few texts.

    Args:
        file: a BPE model that leaves text as it is, like LLaMA's.
        settings: as in `tokenizer_config.json`; used are `legacy` (true: a space comes before every text between
            special tokens; false: only before the first), `add_bos_token`, `add_eos_token`, `chat_template`, the
            special tokens (`bos_token` ...) and `added_tokens_decoder`. What is missing is as in the LlamaTokenizer of
            transformers 4.37: legacy, with BOS and without EOS.

    Raises:
        ValueError: if the file is damaged or another kind of model, an added token has another id than stated, or the
            ids differ from sentencepiece's.
    """
    from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
    from transformers import PreTrainedTokenizerFast

    content = Path(file).read_bytes()
    try:
        reference = SentencePieceProcessor(model_proto=content)
    except RuntimeError as error:
        raise ValueError(f"{file} is damaged or not a model of sentencepiece ({error})") from error
    stored = sentencepiece_model_pb2.ModelProto.FromString(content)
    legacy = settings.get("legacy") is not False
    _check_kind(stored, file, legacy=legacy)
    tokenizer = _built(stored, legacy=legacy)
    pieces = [
        AddedToken(p.piece, special=p.type == CONTROL, normalized=False)
        for p in stored.pieces
        if p.type in (CONTROL, USER_DEFINED)
    ]
    tokenizer.add_tokens(pieces)
    _add_stated(tokenizer, settings.get("added_tokens_decoder") or {}, file)
    for text in CHECKED:
        found, expected = tokenizer.encode(text, add_special_tokens=False).ids, reference.encode(text)
        if found != expected:
            raise ValueError(
                f"{file}: the tokenizer that was built from it gives {found} for {text!r}, sentencepiece {expected}: "
                "such a model cannot be read"
            )
    named = {"unk_token": reference.unk_id(), "bos_token": reference.bos_id(), "eos_token": reference.eos_id()}
    special = {name: reference.id_to_piece(number) for name, number in named.items() if number >= 0}
    special |= {name: _text(settings[name]) for name in (*named, "pad_token") if settings.get(name)}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        add_bos_token=settings.get("add_bos_token") is not False,
        add_eos_token=settings.get("add_eos_token") is True,
        clean_up_tokenization_spaces=False,
        padding_side="right",
        **special,
        **({"chat_template": settings["chat_template"]} if settings.get("chat_template") else {}),
    )


def _check_kind(stored: Any, file: str | Path, *, legacy: bool) -> None:
    """Refuse what `_built` cannot express."""
    trainer, normalizer = stored.trainer_spec, stored.normalizer_spec
    kinds = {piece.type for piece in stored.pieces}
    faults = {
        "is not a BPE model": trainer.model_type != BPE,
        "changes characters before it splits a text": bool(normalizer.precompiled_charsmap),
        "removes spaces": normalizer.remove_extra_whitespaces,
        "puts spaces after words": trainer.treat_whitespace_as_suffix or not normalizer.escape_whitespaces,
        "has pieces that are not used": UNUSED in kinds,
        "has symbols after which no space is added": legacy and normalizer.add_dummy_prefix and USER_DEFINED in kinds,
    }
    if found := [fault for fault, there in faults.items() if there]:
        raise ValueError(f"{file} {' and '.join(found)}: only models like LLaMA's can be read without a tokenizer.json")


def _built(stored: Any, *, legacy: bool) -> Tokenizer:
    """The tokenizer without added tokens."""
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    vocabulary = {piece.piece: number for number, piece in enumerate(stored.pieces)}
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary,
            _merges({piece.piece: piece.score for piece in stored.pieces if piece.type == NORMAL}),
            unk_token=stored.trainer_spec.unk_piece,
            fuse_unk=True,
            byte_fallback=stored.trainer_spec.byte_fallback,
        )
    )
    spaces = normalizers.Replace(" ", SPACE)
    tokenizer.normalizer = spaces
    shown = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if stored.normalizer_spec.add_dummy_prefix:
        shown.append(decoders.Strip(" ", 1, 0))
        if legacy:
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), spaces])
        else:
            # `Metaspace` adds nothing to a text that begins with its own sign. Spaces are already written as SPACE, so
            # that no text begins with " "; the second one then writes the added space as SPACE too.
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Metaspace(" ", prepend_scheme="first", split=False),
                    pre_tokenizers.Metaspace(SPACE, prepend_scheme="never", split=False),
                ]
            )
    tokenizer.decoder = decoders.Sequence(shown)
    return tokenizer


def _merges(scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """All pairs of pieces that make a piece, the best first.

    sentencepiece merges the pair whose piece has the best score, the leftmost one of several. Between different pairs
    that make the same piece, `tokenizers` goes by their order in this list. The longest left side comes first, because
    in a run of one character the left part is merged before the right one.
    """
    pairs = [
        (-score, -place, piece[:place], piece[place:])
        for piece, score in scores.items()
        for place in range(1, len(piece))
        if piece[:place] in scores and piece[place:] in scores
    ]
    return [(left, right) for *_, left, right in sorted(pairs)]


def _add_stated(tokenizer: Tokenizer, stated: Mapping[str, Any], file: str | Path) -> None:
    """Add the tokens of `added_tokens_decoder`, which must get the ids that it says."""
    for number, token in sorted((int(number), token) for number, token in stated.items()):
        text = _text(token)
        sides = {side: bool(token.get(side)) for side in ("lstrip", "rstrip")} if isinstance(token, dict) else {}
        is_special = not isinstance(token, dict) or token.get("special") is not False
        tokenizer.add_tokens([AddedToken(text, special=is_special, normalized=False, **sides)])
        if (found := tokenizer.token_to_id(text)) != number:
            raise ValueError(
                f"{file}: the added token {text!r} gets the id {found}, but its folder says {number}: the files of the "
                "tokenizer do not belong together"
            )


def _text(token: str | Mapping[str, Any]) -> str:
    """A special token's text; files hold it alone or with settings."""
    return token if isinstance(token, str) else str(token["content"])

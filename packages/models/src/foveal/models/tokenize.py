"""Prompts as token ids and labels, in one pass."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from foveal.models.constants import IGNORE_INDEX, IMAGE_TOKEN_ID
from foveal.models.prompts import PLACEHOLDER, Segment


def tokenize(segments: Sequence[Segment], tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Ids with one `IMAGE_TOKEN_ID` per `<image>`, and labels.

    The text between pictures is tokenised by itself, as LLaVA does, so that `<image>` need not be in the vocabulary; a
    token is learnt if it overlaps a supervised piece.

    Args:
        segments: of `render`.
        tokenizer: a fast one.

    Raises:
        ValueError: if the tokenizer cannot say where its tokens come from.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} does not know where its tokens come from: use a fast tokenizer")
    text = "".join(segment.text for segment in segments)
    supervised = _spans(segments)
    ids: list[int] = []
    labels: list[int] = []
    start = 0
    begins_with_bos = False
    for number, chunk in enumerate(text.split(PLACEHOLDER)):
        encoded = tokenizer(chunk, return_offsets_mapping=True)
        chunk_ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        if number == 0:
            begins_with_bos = bool(chunk_ids) and chunk_ids[0] == tokenizer.bos_token_id
        else:
            ids.append(IMAGE_TOKEN_ID)
            labels.append(IGNORE_INDEX)
            if begins_with_bos:
                chunk_ids, offsets = chunk_ids[1:], offsets[1:]
        for position, (token, (first, last)) in enumerate(zip(chunk_ids, offsets, strict=True)):
            is_bos = number == 0 and position == 0 and begins_with_bos
            learnt = not is_bos and any(start + first < end and start + last > begin for begin, end in supervised)
            ids.append(token)
            labels.append(token if learnt else IGNORE_INDEX)
        start += len(chunk) + len(PLACEHOLDER)
    return ids, labels


def separator_id(text: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that a comma or newline has between views: the one it has between other characters.

    By itself it would come with a space before it in many vocabularies: `,` is 1919 in LLaMA's, but 29892 inside `a,b`.

    Raises:
        ValueError: if it has no token of its own.
    """
    for before, after in (("x,", "y"), ("a", "b"), ("", "")):
        context = before + text + after
        encoded = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
        for token, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            if tuple(offsets) == (len(before), len(before) + len(text)) and tokenizer.decode([token]) == text:
                return int(token)
    raise ValueError(f"the tokenizer has no token that is just {text!r}, which the plan puts between views")


def _spans(segments: Sequence[Segment]) -> list[tuple[int, int]]:
    spans, start = [], 0
    for segment in segments:
        if segment.supervised:
            spans.append((start, start + len(segment.text)))
        start += len(segment.text)
    return spans

"""Tokenise prompts into ids and labels, in one pass."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase

from foveal.models.prompts.constants import IGNORE_INDEX, IMAGE_TOKEN_ID
from foveal.models.prompts.templates import PLACEHOLDER, Segment


def tokenize(
    segments: Sequence[Segment], tokenizer: PreTrainedTokenizerBase, *, add_special_tokens: bool = True
) -> tuple[list[int], list[int]]:
    """Ids with one `IMAGE_TOKEN_ID` per `<image>`, and labels.

    The text between pictures is tokenised separately, as LLaVA does, so that `<image>` need not be in the vocabulary. A
    token is supervised if it overlaps a supervised piece. A piece marked `apart` begins with a new token.

    Args:
        segments: the output of `prompt_segments`.
        tokenizer: a fast tokenizer.
        add_special_tokens: whether the tokenizer adds its BOS; chat templates write it themselves.

    Raises:
        ValueError: if the tokenizer cannot return the offsets of its tokens.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} cannot return the offsets of its tokens: use a fast tokenizer")
    text = "".join(segment.text for segment in segments)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        before = text[max(error.start - 20, 0) : error.start]
        raise ValueError(f"the text has half a character (a lone surrogate), after {before!r}") from error
    supervised, breaks = _spans(segments)
    ends = [end for _, end in supervised]
    ids: list[int] = []
    labels: list[int] = []
    begins_with_bos = False
    for start, piece in _pieces(text, breaks):
        if piece == PLACEHOLDER:
            ids.append(IMAGE_TOKEN_ID)
            labels.append(IGNORE_INDEX)
            continue
        encoded = tokenizer(piece, return_offsets_mapping=True, add_special_tokens=add_special_tokens)
        piece_ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        if start == 0:
            begins_with_bos = add_special_tokens and bool(piece_ids) and piece_ids[0] == tokenizer.bos_token_id
        elif begins_with_bos:
            piece_ids, offsets = piece_ids[1:], offsets[1:]
        for position, (token, (first, last)) in enumerate(zip(piece_ids, offsets, strict=True)):
            is_bos = start == 0 and position == 0 and begins_with_bos
            # The first supervised piece that ends behind the token's beginning.
            nearest = bisect_right(ends, start + first)
            learnt = not is_bos and nearest < len(ends) and start + last > supervised[nearest][0]
            ids.append(token)
            labels.append(token if learnt else IGNORE_INDEX)
    return ids, labels


def expanded(
    ids: list[int], labels: list[int], pictures: list[list[int]], *, together: bool = False
) -> tuple[list[int], list[int]]:
    """Replace every single `IMAGE_TOKEN_ID` by its picture's ids.

    Args:
        ids: with one `IMAGE_TOKEN_ID` for each picture.
        labels: as many.
        pictures: the ids of each picture: placeholders, and texts around them.
        together: leave out the texts between two pictures that follow each other directly, see `ViewPlan`.
    """
    rest = iter(pictures)
    expanded_ids: list[int] = []
    expanded_labels: list[int] = []
    before: int | None = None
    for token, label in zip(ids, labels, strict=True):
        standing = next(rest) if token == IMAGE_TOKEN_ID else [token]
        if together and token == before == IMAGE_TOKEN_ID:
            while expanded_ids[-1] != IMAGE_TOKEN_ID:
                del expanded_ids[-1], expanded_labels[-1]
            standing = standing[standing.index(IMAGE_TOKEN_ID) :]
        before = token
        expanded_ids += standing
        expanded_labels += [label] * len(standing)
    return expanded_ids, expanded_labels


def separator_id(text: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of a separator around or between views: an added token like `<img>`, or a comma or newline.

    For a comma or newline it is the id of the character between others. Tokenised alone, a comma would get a leading
    space in many vocabularies: `,` is 1919 in LLaMA's, but 29892 inside `a,b`.

    Raises:
        ValueError: if the text is not a single token.
    """
    added: dict[str, int] = tokenizer.get_added_vocab()
    if text in added:
        return added[text]
    for before, after in (("x,", "y"), ("a", "b"), ("", "")):
        context = before + text + after
        encoded = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True)
        for token, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            if tuple(offsets) == (len(before), len(before) + len(text)) and tokenizer.decode([token]) == text:
                return int(token)
    raise ValueError(
        f"the tokenizer has no token that is just {text!r}, which the plan puts around or between views: "
        "a word like <img> must be added to the tokenizer"
    )


def add_special_tokens(tokens: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> None:
    """Add those of `tokens` that `tokenizer` lacks, with ids after its last one; existing tokens keep their ids.

    Raises:
        ValueError: for a token that the tokenizer does not accept, such as an empty one.
    """
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    if refused := [token for token in tokens if token not in tokenizer.get_added_vocab()]:
        raise ValueError(f"the tokenizer does not accept {refused} as special tokens")


def _pieces(text: str, breaks: Sequence[int]) -> Iterator[tuple[int, str]]:
    """The pieces to tokenise separately and where they begin: pictures, and the text between pictures and breaks."""
    start = 0
    for part in re.split(f"({PLACEHOLDER})", text):
        end = start + len(part)
        inside = breaks[bisect_right(breaks, start) : bisect_left(breaks, end)]
        for begin, stop in pairwise([start, *inside, end]):
            yield begin, text[begin:stop]
        start = end


def _spans(segments: Sequence[Segment]) -> tuple[list[tuple[int, int]], list[int]]:
    """Where supervised pieces begin and end, and where pieces marked `apart` begin."""
    spans, breaks, start = [], [], 0
    for segment in segments:
        end = start + len(segment.text)
        if segment.supervised:
            spans.append((start, end))
        if segment.apart:
            breaks.append(start)
        start = end
    return spans, breaks

"""Text that grows token by token: together it is the whole, nothing that is given is taken back."""

from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.models import byte_tokenizer
from recipes.serving.answer_text import AnswerText

TOKENIZER = byte_tokenizer()
LETTERS = "ab \n€😀é"


def pieces(ids, stops=()):
    text, given_ = AnswerText(TOKENIZER, stops), []
    for token in ids:
        given_.append(text.add(token))
        if text.stopped:
            break
    return [*given_, text.end()], text.stopped


def decoded(ids):
    return TOKENIZER.decode(ids, skip_special_tokens=True).strip()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 259), max_size=30))
def test_any_tokens(ids):
    """Also bytes that are no text, and special tokens."""
    assert "".join(pieces(ids)[0]) == decoded(ids)


@settings(max_examples=150, deadline=None)
@given(st.text(LETTERS, max_size=30), st.lists(st.text(LETTERS, min_size=1, max_size=4), max_size=3))
def test_stop_texts(text, stops):
    found, stopped = pieces(TOKENIZER(text)["input_ids"], stops)
    begun = text.lstrip()
    ends = [(begun.find(stop) + len(stop), begun.find(stop)) for stop in stops if stop in begun]
    assert "".join(found) == (begun[: min(ends)[1]] if ends else begun).rstrip()
    assert stopped == bool(ends)


def test_pieces_come_as_soon_as_they_are_sure():
    found, _ = pieces(TOKENIZER(" A cat. STOP")["input_ids"], ["STOP"])
    assert [piece for piece in found if piece] == ["A", " c", "a", "t", "."]
    held, _ = pieces(TOKENIZER("A STO")["input_ids"], ["STOP"])
    # The end shows that it is no stop text.
    assert held[-1] == " STO"
    *bos, first, second, third = TOKENIZER("€")["input_ids"]
    assert pieces([*bos, first, second, third])[0] == [""] * len(bos) + ["", "", "€", ""]

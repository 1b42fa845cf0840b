"""Texts that cannot fit are refused before they are tokenised, and no others."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

from foveal.core import Size
from foveal.models import PadToSquare, Processor, Turn, byte_tokenizer, pretrained_tokenizer
from foveal.models.prompts import processor as module
from foveal.models.prompts.fitting import TooLongError, longest_fitting
from foveal.models.prompts.tokenize import tokenize

ANSWER = Turn("assistant", "Yes.")


def no_pictures(_size):
    return []


def processor(tokenizer, **options):
    return Processor(tokenizer, PadToSquare(16), count=no_pictures, system="", **options)


@pytest.fixture(params=["bytes", "sentencepiece", "bpe"])
def tokenizer(request):
    if request.param == "bytes":
        return byte_tokenizer(("<|im_start|>",))
    folder = request.getfixturevalue(f"{request.param}_folder")
    if request.param == "bpe":
        backend = ByteLevelBPETokenizer.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))._tokenizer
        return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", pad_token="</s>")
    return pretrained_tokenizer(str(folder))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(data=st.data())
def test_no_text_that_fits_is_refused(tokenizer, data):
    longest = sorted(tokenizer.get_vocab(), key=len)[-5:]
    texts = st.sampled_from([tokenizer.decode(tokenizer.convert_tokens_to_ids([token])) for token in longest])
    text = "".join(data.draw(st.lists(texts | st.text(max_size=3), min_size=1, max_size=30)))
    text *= data.draw(st.sampled_from([1, 50]))
    turns = [Turn("user", text.replace("<image>", "")), Turn("assistant", "a")]
    tokens = processor(tokenizer, max_length=10_000).length([], turns)
    assert processor(tokenizer, max_length=tokens).length([], turns) == tokens
    with pytest.raises(ValueError, match="raise max_length"):
        processor(tokenizer, max_length=tokens - 1).length([], turns)


@pytest.mark.parametrize("overlong", ["raise", "drop_turns"])
def test_ten_million_characters_are_not_tokenised(tokenizer, overlong, monkeypatch):
    ours = processor(tokenizer, overlong=overlong)

    def counted(segments, tokenizer, **options):
        assert sum(len(segment.text) for segment in segments) < 1000 * ours.max_length
        return tokenize(segments, tokenizer, **options)

    monkeypatch.setattr(module, "tokenize", counted)
    long = Turn("user", "a bc" * 2_500_000)
    for turns in ([long, ANSWER], [Turn("system", long.text), Turn("user", "Well?"), ANSWER]):
        with pytest.raises(ValueError, match=r"record 3: .* 10,000,0\d\d characters, more than 2048 tokens can have"):
            ours.encode([], turns, key="record 3")
    with pytest.raises(ValueError, match="characters"):
        ours.encode_prompt([], [long])
    first = [Turn("user", "Well?"), ANSWER]
    if overlong == "drop_turns":
        assert ours.length([], [*first, long, ANSWER]) == ours.length([], first)


def test_placeholders_are_not_text():
    ours = Processor(byte_tokenizer(), PadToSquare(16), count=lambda _size: [1], system="", max_length=130)
    pictures = 100
    turns = [Turn("user", "<image>" * pictures), ANSWER]
    assert ours.length([Size(16, 16)] * pictures, turns) <= 130


def one_by_one(turns, encode):
    dropped = 0
    while True:
        try:
            return encode(turns[: len(turns) - dropped]), dropped
        except TooLongError:
            if len(turns) - dropped < 4 or "<image>" in turns[-2 - dropped].text:
                raise
            dropped += 2


def outcome(find, turns, encode):
    try:
        return find(turns, encode)
    except TooLongError as error:
        return str(error)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=20), st.integers(1, 80), st.booleans()
)
def test_halving_finds_what_dropping_one_by_one_finds(exchanges, limit, system):
    turns = [Turn("system", "Be brief.")] if system else []
    for number, (length, pictured) in enumerate(exchanges):
        turns += [Turn("user", "<image>" * pictured + "a" * length), Turn("assistant", str(number))]

    def encode(kept):
        length = sum(len(turn.text) for turn in kept)
        if length > limit:
            raise TooLongError(f"{length} characters")
        return length

    assert outcome(longest_fitting, turns, encode) == outcome(one_by_one, turns, encode)


def test_thousands_of_turns_are_tokenised_a_few_times(monkeypatch):
    ours = processor(byte_tokenizer(), overlong="drop_turns", max_length=10_000)
    calls = []
    monkeypatch.setattr(module, "tokenize", lambda *given, **options: calls.append(1) or tokenize(*given, **options))
    turns = [Turn("user", "Well?"), ANSWER] * 20_000
    assert 9_900 <= ours.length([], turns) <= 10_000
    assert len(calls) <= 16

"""LLaMA's tokenizer from its `tokenizer.model`: the ids of sentencepiece, and what folders say about it."""

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer, sentencepiece_model_pb2

from foveal.models import IMAGE_TOKEN_ID, pretrained_tokenizer
from foveal.models.prompts import sentencepiece_tokenizer as building
from foveal.models.prompts.sentencepiece_tokenizer import sentencepiece_tokenizer
from foveal.models.prompts.templates import Segment
from foveal.models.prompts.tokenize import tokenize

TEXTS = (
    *("Hi  Hello", " leading", "trailing  ", " ", "       ", "a\tb\r\n", "\n\nblank", "def f():\n    return  1", ""),
    *(
        "| a  | b |\n|----|---|",
        "é naïve 日本語 😀\n\n",
        "a\u00a0\u200b b",
        "▁ ▁▁",
        " ".join("abcde"),
        "x" + 40 * " " + "y",
    ),
)
PARTS = (*"abt ▁\n\t-=_0é😀", "  ", "ab", "aab", "the", " of", "    ", "\u00a0", "ing")


def train(folder, **options):
    """A vocabulary of LLaMA's kind, learnt from words and runs of spaces; returns its file."""
    stream = io.BytesIO()
    lines = ["ab aba  abab   ababa aab     aaab", "the thing of the king        is here", "        - if a:", "baab  b"]
    lines += ["a b  a   b    a ab", "  of the    ring", "sing  the thing", "1 + 1 == 2,  10,50"]
    kind = {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity"}
    spaces = {"remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True}
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 20),
        model_writer=stream,
        vocab_size=options.pop("vocab_size", 345),
        minloglevel=2,
        **(kind | spaces | options),
    )
    folder.mkdir(exist_ok=True)
    file = folder / "tokenizer.model"
    file.write_bytes(stream.getvalue())
    return file


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return train(tmp_path_factory.mktemp("sentencepiece"))


def references(file):
    """sentencepiece with and without a space before the text."""
    bare = sentencepiece_model_pb2.ModelProto.FromString(file.read_bytes())
    bare.normalizer_spec.add_dummy_prefix = False
    return SentencePieceProcessor(model_file=str(file)), SentencePieceProcessor(model_proto=bare.SerializeToString())


@pytest.mark.parametrize("legacy", [True, False])
def test_ids_are_sentencepiece_s(file, legacy):
    """Legacy: every text between special tokens gets a space in front; otherwise only the first does."""
    spaced, bare = references(file)
    tokenizer = sentencepiece_tokenizer(file, {"legacy": legacy})

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.lists(st.sampled_from(PARTS), max_size=25).map("".join), min_size=1, max_size=3))
    def compare(texts):
        expected = [1, *spaced.encode(texts[0])]
        for text in texts[1:]:
            expected += [2, *(spaced if legacy else bare).encode(text)]
        assert tokenizer("</s>".join(texts))["input_ids"] == expected

    compare()
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == [1, *spaced.encode(text)]


def test_prompts_with_pictures(file, tmp_path):
    """Every text between pictures begins anew, as in LLaVA's `tokenizer_image_token`; also after saving."""
    spaced, _ = references(file)
    tokenizer = pretrained_tokenizer(str(file.parent))
    tokenizer.save_pretrained(tmp_path)
    assert not (tmp_path / "tokenizer.model").exists()
    for ours in (tokenizer, pretrained_tokenizer(str(tmp_path))):
        for texts in (["", " the thing"], ["a:  ", "\n", "", "  of", " "], *([text, text] for text in TEXTS)):
            expected = [1, *spaced.encode(texts[0])]
            for text in texts[1:]:
                expected += [IMAGE_TOKEN_ID, *spaced.encode(text)]
            assert tokenize([Segment("<image>".join(texts))], ours)[0] == expected
            assert ours.decode(ours(texts[0])["input_ids"], skip_special_tokens=True) == texts[0].replace("▁", " ")


def test_what_is_learnt_of_an_answer(file):
    """The space before a text belongs to its first token, so that labels begin with the answer."""
    tokenizer = pretrained_tokenizer(str(file.parent))
    segments = [Segment("the:"), Segment(" ab", supervised=True), Segment("</s>", supervised=True), Segment(" of")]
    ids, labels = tokenize(segments, tokenizer)
    spaced, _ = references(file)
    first, rest = spaced.encode("the:"), spaced.encode(" of")
    answer = spaced.encode("the: ab")[len(first) :]
    assert ids == [1, *first, *answer, 2, *rest]
    assert labels == [-100] * (1 + len(first)) + [*answer, 2] + [-100] * len(rest)


@pytest.mark.parametrize("legacy", [True, False, None])
def test_what_the_folder_says(file, tmp_path, legacy):
    (tmp_path / "tokenizer.model").write_bytes(file.read_bytes())
    size = len(SentencePieceProcessor(model_file=str(file)))
    config = {
        "tokenizer_class": "LlamaTokenizer",
        **({} if legacy is None else {"legacy": legacy}),
        "chat_template": "{{ messages }}",
        "bos_token": {"__type": "AddedToken", "content": "<s>", "normalized": True},
        "added_tokens_decoder": {str(size + 1): {"content": "<im_end>", "special": False, "normalized": True}},
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<im_start>": size}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": "<im_start>"}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    tokenizer = pretrained_tokenizer(str(tmp_path), ["<img>"])
    assert (tokenizer.pad_token_id, tokenizer.chat_template) == (size, "{{ messages }}")
    spaced, bare = references(file)
    later = bare if legacy is False else spaced
    ids = tokenizer("<im_start>ab<im_end>the<img></s>")["input_ids"]
    assert ids == [1, size, *later.encode("ab"), size + 1, *later.encode("the"), size + 2, 2]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"add_bos_token": False}))
    assert pretrained_tokenizer(str(tmp_path))("ab")["input_ids"] == spaced.encode("ab")
    (tmp_path / "added_tokens.json").unlink()
    with pytest.raises(ValueError, match=rf"'<im_end>' gets the id {size}, but its folder says {size + 1}"):
        pretrained_tokenizer(str(tmp_path))
    (tmp_path / "special_tokens_map.json").write_text("[]")
    with pytest.raises(ValueError, match=r"special_tokens_map\.json holds list, not settings by name"):
        pretrained_tokenizer(str(tmp_path))


def test_a_tokenizer_of_other_code_is_not_taken_for_llama_s(file, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(file.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["own.Own", None]}}))
    with pytest.raises(
        ValueError, match="its files name code of their own under auto_map, and no code from files is run"
    ):
        pretrained_tokenizer(str(tmp_path))


def test_a_tokenizer_json_is_used_as_it_is(file, tmp_path):
    """transformers takes only vocabulary and merges from it if the folder names LLaMA's class."""
    sentencepiece_tokenizer(file, {}).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "LlamaTokenizerFast"}))
    spaced, _ = references(file)
    assert pretrained_tokenizer(str(tmp_path))("  of")["input_ids"] == [1, *spaced.encode("  of")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "unigram", "vocab_size": 300, "hard_vocab_limit": False}, "is not a BPE model"),
        ({"normalization_rule_name": "nmt_nfkc"}, "changes characters before it splits a text: only models like LLaMA"),
        ({"remove_extra_whitespaces": True}, "removes spaces"),
        ({"treat_whitespace_as_suffix": True}, "puts spaces after words"),
        ({"user_defined_symbols": ["|"]}, "has symbols after which no space is added"),
    ],
)
def test_other_models_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        pretrained_tokenizer(str(train(tmp_path / "other", **options).parent))


def test_faults_are_found_when_a_tokenizer_is_built(file, tmp_path, monkeypatch):
    (tmp_path / "tokenizer.model").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"tokenizer\.model is damaged or not a model of sentencepiece"):
        pretrained_tokenizer(str(tmp_path))
    monkeypatch.setattr(building, "_merges", lambda scores: [("▁", "a"), ("a", "b")])
    with pytest.raises(
        ValueError, match=r"tokenizer\.model: the tokenizer .* gives .*, sentencepiece .* cannot be read"
    ):
        sentencepiece_tokenizer(file, {})

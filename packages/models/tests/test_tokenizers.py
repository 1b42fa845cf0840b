"""Special tokens of tokenizers, and the ids of a plan's texts."""

import pytest
from PIL import Image
from sentencepiece import SentencePieceProcessor
from transformers import PreTrainedTokenizerFast

from foveal.core import Size
from foveal.models import IMAGE_TOKEN_ID, Processor, Turn, ViewPlan, byte_tokenizer, pretrained_tokenizer
from foveal.models.prompts.tokenize import separator_id

PAGE = ("<img>", "</img>")


class Page(ViewPlan):
    """One view, between tokens that mark its start and end."""

    def views(self, picture):
        return (Size(32, 32),)

    def layout(self, picture):
        return ("<img>", 0, "</img>")

    def cut(self, image):
        return [image.resize((32, 32))]


def count(picture):
    return ("<img>", 3, "</img>")


def test_further_tokens_follow_the_bytes():
    plain, ours = byte_tokenizer(), byte_tokenizer(PAGE)
    assert (len(plain), len(ours)) == (260, 262)
    ids = ours("é<img>a</img>\n", add_special_tokens=False)["input_ids"]
    letters = plain("éa\n", add_special_tokens=False)["input_ids"]
    assert ids == [*letters[:2], 260, letters[2], 261, letters[3]]
    assert ours.decode(ids) == "é<img>a</img>\n"
    assert ours.decode(ids, skip_special_tokens=True) == "éa\n"


def test_tokens_that_are_there_keep_their_ids():
    ours = byte_tokenizer(("</s>", *PAGE, "<img>"))
    assert (ours.eos_token_id, len(ours)) == (2, 262)
    assert ours.convert_tokens_to_ids(list(PAGE)) == [260, 261]


def test_tokens_of_a_saved_tokenizer(tmp_path):
    byte_tokenizer(PAGE).save_pretrained(tmp_path)
    again = pretrained_tokenizer(str(tmp_path))
    more = pretrained_tokenizer(str(tmp_path), ("</img>", "<box>", "<img>"))
    assert again.convert_tokens_to_ids(list(PAGE)) == [260, 261]
    assert more.convert_tokens_to_ids([*PAGE, "<box>"]) == [260, 261, 262]
    assert (len(again), len(more)) == (262, 263)
    text = "<img>x<box></img>"
    assert more(text)["input_ids"] == [1, 260, *more("x", add_special_tokens=False)["input_ids"], 262, 261]
    assert more.decode(more(text)["input_ids"], skip_special_tokens=True) == "x"


def test_llama_with_tokens(sentencepiece_folder):
    tokenizer = pretrained_tokenizer(str(sentencepiece_folder), PAGE)
    pieces = SentencePieceProcessor(model_file=str(sentencepiece_folder / "tokenizer.model"))
    assert [separator_id(token, tokenizer) for token in PAGE] == [600, 601]
    assert [separator_id(text, tokenizer) for text in ",\n"] == [pieces.piece_to_id(","), pieces.piece_to_id("<0x0A>")]
    assert tokenizer("<img></img>")["input_ids"] == [1, 600, 601]


@pytest.mark.parametrize("special", [{"eos_token": "</s>"}, {"eos_token": "</s>", "unk_token": "<unk>"}, {}])
def test_what_pads_without_a_padding_token(tmp_path, special):
    backend = byte_tokenizer().backend_tokenizer
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(tmp_path)
    if special:
        assert pretrained_tokenizer(str(tmp_path)).pad_token == special.get("unk_token", "</s>")
    else:
        with pytest.raises(ValueError, match="no padding, unknown or EOS token to pad with"):
            pretrained_tokenizer(str(tmp_path))


def test_an_empty_token_is_refused():
    with pytest.raises(ValueError, match=r"does not accept \[''\] as special tokens"):
        byte_tokenizer(("<img>", ""))


def test_ids_of_what_stands_around_a_picture():
    tokenizer = byte_tokenizer(PAGE)
    assert [separator_id(token, tokenizer) for token in (*PAGE, "<pad>")] == [260, 261, 3]
    assert tokenizer.decode([separator_id(",", tokenizer)]) == ","
    with pytest.raises(ValueError, match=r"no token that is just '<imgpad>'.* must be added to the tokenizer"):
        separator_id("<imgpad>", tokenizer)


def test_a_page_and_its_text():
    ours = Processor(byte_tokenizer(PAGE), Page(), count=count, template="vary_tiny")
    page, question = Image.new("RGB", (50, 70)), Turn("user", "Read this: <image>")
    whole = ours.encode([page], [question, Turn("assistant", "Ab\n")])
    prompt = ours.encode_prompt([page], [question])
    letters = ours.tokenizer("\nAb\n\n", add_special_tokens=False)["input_ids"]
    assert prompt.input_ids.tolist() == [1, 260, *[IMAGE_TOKEN_ID] * 3, 261, letters[0]]
    assert whole.input_ids.tolist() == [*prompt.input_ids.tolist(), *letters[1:], 2]
    assert whole.labels.tolist() == [-100] * 7 + [*letters[1:], 2]
    assert ours.stop_ids == [2]


@pytest.mark.parametrize(
    ("template", "end", "marks"),
    [
        ("vary", "<|im_end|>", ["<|im_start|>"]),
        ("phi3", "<|end|>", ["<|system|>", "<|user|>", "<|assistant|>"]),
    ],
)
def test_answers_stop_at_the_end_of_their_turn(template, end, marks):
    ours = Processor(byte_tokenizer((*PAGE, end, *marks)), Page(), count=count, template=template)
    assert ours.stop_ids == [2, 262]


def test_a_plan_with_tokens_that_the_tokenizer_does_not_have():
    ours = Processor(byte_tokenizer(), Page(), count=count, template="vary_tiny")
    with pytest.raises(ValueError, match="page 7: the tokenizer has no token that is just '<img>'"):
        ours.encode_prompt([Image.new("RGB", (50, 70))], [Turn("user", "<image>")], key="page 7")

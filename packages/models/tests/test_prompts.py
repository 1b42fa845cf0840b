"""Conversations as text, ids and labels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

from foveal.models import Turn, byte_tokenizer, pretrained_tokenizer
from foveal.models.constants import IGNORE_INDEX
from foveal.models.prompts import TEMPLATES, check_turns, render
from foveal.models.tokenize import separator_id, tokenize

BYTES = byte_tokenizer()
ROLES = {"human": "user", "gpt": "assistant"}


def text_of(turns, name, **options):
    return "".join(segment.text for segment in render(turns, name, bos="<s>", eos="</s>", **options))


def test_every_reference_conversation(golden, shared):
    meta = golden("llava/conversation_cases").meta
    tokenizers = {
        name: PreTrainedTokenizerFast(
            tokenizer_file=str(shared / "golden" / "llava" / described["file"]),
            eos_token=described["eos"],
            pad_token=described["pad"],
            **({"bos_token": described["bos"]} if described["bos"] else {}),
        )
        for name, described in meta["tokenizers"].items()
    }
    compared = 0
    for case in meta["cases"]:
        tokenizer = tokenizers[case["tokenizer"]]
        turns = [Turn(ROLES[turn["from"]], turn["value"]) for turn in case["conversations"]]
        if turns[0].role == "assistant":  # left out where records are read
            turns = turns[1:]
        segments = render(turns, case["template"], bos=tokenizer.bos_token or "", eos=tokenizer.eos_token)
        assert "".join(segment.text for segment in segments) == case["prompt"]
        ids, labels = tokenize(segments, tokenizer)
        # The reference cuts samples that are too long; here they are refused, so only the beginning can be compared.
        kept = case["model_max_length"] if "truncated" in case["case"] else None
        assert (ids[:kept], labels[:kept]) == (case["input_ids"], case["labels"]), (case["case"], case["tokenizer"])
        compared += 1
    assert compared == 57


def test_llama_ids_of_the_published_example(shared):
    tokenizer = pretrained_tokenizer(str(shared / "tokenizers" / "llama2"))
    segments = render([Turn("user", "<image>\nWhat is this?")], "vicuna_v1", bos="<s>", eos="</s>")
    ids, _ = tokenize(segments, tokenizer)
    expected = [3148, 1001, 29901, 29871, -200, 29871, 13, 5618, 338, 445, 29973, 319, 1799, 9047, 13566, 29901]
    assert ids[-len(expected) :] == expected
    assert (len(ids), ids.index(-200)) == (47, 35)
    assert separator_id(",", tokenizer) == 29892
    assert separator_id("\n", tokenizer) == 13


QUESTION_AND_ANSWER = [Turn("user", "<image>\nWhat?"), Turn("assistant", "A cat.")]


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("plain", "<image>A cat.\n"),
        ("vicuna_v1", "questions. USER: <image>\nWhat? ASSISTANT: A cat.</s>"),
        ("llama_2", "natural language.\n<</SYS>>\n\n<image>\nWhat? [/INST] A cat. </s>"),
        ("chatml", "<|im_end|>\n<|im_start|>user\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\nA cat.<|im_end|>\n"),
    ],
)
def test_templates(name, end):
    text = text_of(QUESTION_AND_ANSWER, name)
    assert text.endswith(end)
    # A prompt is the beginning of what was learnt.
    assert text.startswith(text_of(QUESTION_AND_ANSWER[:1], name))


def test_later_turns():
    turns = [*QUESTION_AND_ANSWER, Turn("user", "Sure?"), Turn("assistant", "Yes.")]
    assert text_of(turns, "vicuna_v1").endswith(" ASSISTANT: A cat.</s>USER: Sure? ASSISTANT: Yes.</s>")
    assert text_of(turns, "llama_2").endswith(" A cat. </s><s>[INST] Sure? [/INST] Yes. </s>")


def test_system_text():
    assert text_of(QUESTION_AND_ANSWER, "vicuna_v1", system="") == "USER: <image>\nWhat? ASSISTANT: A cat.</s>"
    assert text_of(QUESTION_AND_ANSWER, "llama_2", system="").startswith("[INST] <image>\nWhat? [/INST]")
    assert text_of([Turn("system", "Be brief."), *QUESTION_AND_ANSWER], "vicuna_v1").startswith("Be brief. USER: ")


@pytest.mark.parametrize("name", TEMPLATES)
def test_answers_and_their_end_alone_are_learnt(name):
    tokenizer = byte_tokenizer()
    turns = (
        QUESTION_AND_ANSWER
        if name == "plain"
        else [*QUESTION_AND_ANSWER, Turn("user", "é?"), Turn("assistant", "naïve")]
    )
    ids, labels = tokenize(render(turns, name, bos="<s>", eos="</s>"), tokenizer)
    learnt = tokenizer.decode([label for label in labels if label != IGNORE_INDEX])
    answers = "".join(segment.text for segment in render(turns, name, bos="<s>", eos="</s>") if segment.supervised)
    assert learnt == answers
    assert all(label in (token, IGNORE_INDEX) for token, label in zip(ids, labels, strict=True))


@pytest.mark.parametrize(
    ("turns", "pictures", "message"),
    [
        ([Turn("assistant", "A")], 0, "turn 1 is the assistant's, expected the user's"),
        ([Turn("user", "Q"), Turn("user", "Q")], 0, "turn 2 is the user's, expected the assistant's"),
        ([Turn("user", "Q"), Turn("assistant", " ")], 0, "turn 2: the assistant's answer is empty"),
        ([Turn("user", "Q")], 0, "must end with a turn of the assistant"),
        ([], 0, "it has 0 turns"),
        ([Turn("user", "<image> <image>"), Turn("assistant", "A")], 1, "2 <image> in the text, 1 pictures"),
        ([Turn("user", "Q"), Turn("assistant", "A")], 1, "0 <image> in the text, 1 pictures"),
        ([Turn("user", "Q"), Turn("assistant", "<image>")], 1, "1 <image> outside of the user's turns"),
    ],
)
def test_conversations_that_are_refused(turns, pictures, message):
    with pytest.raises(ValueError, match=message):
        check_turns(turns, pictures, open_ended=False)


def test_other_faults():
    with pytest.raises(ValueError, match="no prompt template 'vicuna': plain, vicuna_v1"):
        text_of(QUESTION_AND_ANSWER, "vicuna")
    with pytest.raises(ValueError, match="one question and its answer, not 4 turns"):
        text_of([*QUESTION_AND_ANSWER, *QUESTION_AND_ANSWER], "plain")
    with pytest.raises(ValueError, match="no token that is just 'zz'"):
        separator_id("zz", byte_tokenizer())


@given(st.text())
def test_any_text_comes_back_byte_by_byte(text):
    ids = BYTES(text, add_special_tokens=False)["input_ids"]
    assert BYTES.decode(ids) == text
    if not any(
        special in text for special in BYTES.all_special_tokens
    ):  # written out they are one token, as in LLaMA's
        assert len(ids) == len(text.encode())


def test_separators_of_gpt2(shared):
    folder = shared / "tokenizers" / "gpt2"
    backend = ByteLevelBPETokenizer.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer)
    assert (separator_id(",", tokenizer), separator_id("\n", tokenizer)) == (11, 198)


def test_bytes_come_back(tmp_path):
    tokenizer = byte_tokenizer()
    text = "naïve € 漢字\n\ttab </x>"
    ids = tokenizer(text)["input_ids"]
    assert (ids[0], len(tokenizer)) == (tokenizer.bos_token_id, 260)
    assert len(ids) == 1 + len(text.encode())
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    tokenizer.save_pretrained(tmp_path)
    again = pretrained_tokenizer(str(tmp_path))
    assert again(text)["input_ids"] == ids
    assert again.pad_token_id == tokenizer.pad_token_id

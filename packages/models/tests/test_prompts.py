"""Conversations as text, ids and labels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from tokenizers import ByteLevelBPETokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from foveal.models import IMAGE_TOKEN_ID, Turn, byte_tokenizer, pretrained_tokenizer
from foveal.models.prompts.constants import IGNORE_INDEX
from foveal.models.prompts.template_texts import TEMPLATES
from foveal.models.prompts.templates import check_turns, render
from foveal.models.prompts.tokenize import separator_id, tokenize

BYTES = byte_tokenizer()
ROLES = {"human": "user", "gpt": "assistant"}


def text_of(turns, name, **options):
    return "".join(segment.text for segment in render(turns, name, bos="<s>", eos="</s>", **options))


def test_every_reference_conversation(golden):
    meta = golden("llava/conversation_cases").meta
    tokenizers = {
        name: PreTrainedTokenizerFast(
            tokenizer_file=str(golden.file(f"llava/{described['file']}")),
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
        if turns[0].role == "assistant":  # dropped when records are read
            turns = turns[1:]
        segments = render(turns, case["template"], bos=tokenizer.bos_token or "", eos=tokenizer.eos_token)
        assert "".join(segment.text for segment in segments) == case["prompt"]
        ids, labels = tokenize(segments, tokenizer)
        # The reference truncates samples that are too long; here they are refused, so only the start can be compared.
        kept = case["model_max_length"] if "truncated" in case["case"] else None
        assert (ids[:kept], labels[:kept]) == (case["input_ids"], case["labels"]), (case["case"], case["tokenizer"])
        compared += 1
    assert compared == 57


def test_llama_ids_are_sentencepiece_s(sentencepiece_folder):
    """Text after a picture is tokenised separately, as in LLaVA's `tokenizer_image_token`."""
    reference = SentencePieceProcessor(model_file=str(sentencepiece_folder / "tokenizer.model"))
    tokenizer = pretrained_tokenizer(str(sentencepiece_folder))
    asked = [Turn("user", "<image>\nWhat is this?<image>\n12,50 é")]
    segments = render(asked, "vicuna_v1", bos="<s>", eos="</s>")
    texts = "".join(segment.text for segment in segments).split("<image>")
    first, *others = (reference.encode(text) for text in texts)
    expected = [reference.bos_id(), *first]
    for other in others:
        expected += [IMAGE_TOKEN_ID, *other]
    ids, _ = tokenize(segments, tokenizer)
    assert ids == expected
    assert (len(texts), ids.count(IMAGE_TOKEN_ID)) == (3, 2)
    assert separator_id(",", tokenizer) == reference.piece_to_id(",")
    assert separator_id("\n", tokenizer) == reference.piece_to_id("<0x0A>")


QUESTION_AND_ANSWER = [Turn("user", "<image>\nWhat?"), Turn("assistant", "A cat.")]


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("plain", "<image>A cat.\n"),
        ("vicuna_v1", "questions. USER: <image>\nWhat? ASSISTANT: A cat.</s>"),
        ("llama_2", "natural language.\n<</SYS>>\n\n<image>\nWhat? [/INST] A cat. </s>"),
        ("mistral_instruct", "[INST] <image>\nWhat? [/INST] A cat. </s>"),
        ("llama_3", "\n\n<image>\nWhat?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA cat.<|eot_id|>"),
        ("llava_llama_3", "\nWhat?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA cat.<|eot_id|>"),
        ("gemma", "user\n<image>\nWhat?<end_of_turn>\n<start_of_turn>model\nA cat.<end_of_turn>\n"),
        ("chatml", "<|im_end|>\n<|im_start|>user\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\nA cat.<|im_end|>\n"),
        ("qwen3_vl", "<|im_start|>user\n<image>What?<|im_end|>\n<|im_start|>assistant\nA cat.<|im_end|>\n"),
        ("internvl", "<|im_start|>user\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\nA cat.<|im_end|>\n"),
        ("phi3", "assistant.<|end|>\n<|user|>\n<image>\nWhat?<|end|>\n<|assistant|>\nA cat.<|end|>"),
        ("vary", "detail.<|im_end|><|im_start|>user\n<image>\nWhat?<|im_end|><|im_start|>assistant\nA cat.<|im_end|>"),
        ("vary_tiny", "<image>\nA cat.\n</s>"),
    ],
)
def test_templates(name, end):
    text = text_of(QUESTION_AND_ANSWER, name)
    assert text.endswith(end)
    # A prompt is a prefix of the training sequence.
    assert text.startswith(text_of(QUESTION_AND_ANSWER[:1], name))


def test_later_turns():
    turns = [*QUESTION_AND_ANSWER, Turn("user", "Sure?"), Turn("assistant", "Yes.")]
    assert text_of(turns, "vicuna_v1").endswith(" ASSISTANT: A cat.</s>USER: Sure? ASSISTANT: Yes.</s>")
    assert text_of(turns, "llama_2").endswith(" A cat. </s><s>[INST] Sure? [/INST] Yes. </s>")
    assert text_of(turns, "phi3") == (
        "<|system|>\nYou are a helpful AI assistant.<|end|>\n"
        "<|user|>\n<image>\nWhat?<|end|>\n<|assistant|>\nA cat.<|end|>\n"
        "<|user|>\nSure?<|end|>\n<|assistant|>\nYes.<|end|>"
    )


def test_a_picture_behind_the_question():
    question = [Turn("user", "What is <image> this?")]
    assert "<|user|>\n<image>\nWhat is  this?<|end|>" in text_of(question, "phi3")
    assert "user\nWhat is <image> this?<|im_end|>" in text_of(question, "vary")
    assert "user\nWhat is <image> this?<|im_end|>" in text_of(question, "internvl")


@pytest.mark.parametrize("name", ["plain", "vary_tiny"])
def test_what_the_user_says_is_not_shown(name):
    turns = [Turn("system", "Be brief."), Turn("user", "a <image> b <image>\nc"), Turn("assistant", "A cat.")]
    text = text_of(turns, name, system="Be kind.")
    assert text.startswith("<image><image>")
    assert not set("abc") & set(text.replace("<image>", "").replace("A cat.", "").replace("</s>", ""))


def test_system_text():
    assert text_of(QUESTION_AND_ANSWER, "vicuna_v1", system="") == "USER: <image>\nWhat? ASSISTANT: A cat.</s>"
    assert text_of(QUESTION_AND_ANSWER, "llama_2", system="").startswith("[INST] <image>\nWhat? [/INST]")
    assert text_of([Turn("system", "Be brief."), *QUESTION_AND_ANSWER], "vicuna_v1").startswith("Be brief. USER: ")
    assert text_of(QUESTION_AND_ANSWER, "phi3", system="").startswith("<|user|>\n<image>\nWhat?<|end|>")
    assert text_of(QUESTION_AND_ANSWER, "vary", system="").startswith("<|im_start|>user\n<image>\nWhat?<|im_end|>")


@pytest.mark.parametrize("name", TEMPLATES)
def test_answers_and_their_end_alone_are_learnt(name):
    tokenizer = byte_tokenizer()
    turns = (
        QUESTION_AND_ANSWER
        if name in ("plain", "vary_tiny")
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
    for name in ("plain", "vary_tiny"):
        with pytest.raises(ValueError, match=f"{name} takes one question and its answer, not 4 turns"):
            text_of([*QUESTION_AND_ANSWER, *QUESTION_AND_ANSWER], name)
    with pytest.raises(ValueError, match="no token that is just 'zz'"):
        separator_id("zz", byte_tokenizer())


def learnt_parts(segments, picture):
    """[text, supervised] as Vary's reference writes it: neighbours of the same kind are joined."""
    parts = []
    for segment in segments:
        text = segment.text.replace("<image>", picture)
        if parts and parts[-1][1] == segment.supervised:
            parts[-1][0] += text
        else:
            parts.append([text, segment.supervised])
    return parts


@pytest.mark.parametrize(("name", "cases", "bos"), [("vary_tiny", "vary_tiny", "</s>"), ("vary", "vary_qwen", "")])
def test_every_reference_conversation_of_vary(golden, name, cases, bos):
    meta = golden("vary/prompts").meta
    picture = f"<img>{{IMGPAD*{meta['image_tokens']}}}</img>"
    compared = 0
    for case in meta[cases]:
        turns = [Turn(ROLES[turn["from"]], turn["value"]) for turn in case["conversation"]]
        if turns[-1].text == "":
            # The reference supervises the end of an empty page, and accepts a picture without a placeholder in the
            # text. Here both are refused; the template is the same.
            with pytest.raises(ValueError, match="turn 2: the assistant's answer is empty"):
                check_turns(turns, 1, open_ended=False)
            with pytest.raises(ValueError, match="0 <image> in the text, 1 pictures"):
                check_turns([turns[0], Turn("assistant", "A")], 1, open_ended=False)
            turns[0] = Turn("user", "<image>")
        else:
            pictures = sum(turn.text.count("<image>") for turn in turns)
            check_turns(turns, pictures, open_ended=False)
        parts = learnt_parts(render(turns, name, bos=bos, eos="</s>"), picture)
        parts[0][0] = bos + parts[0][0]  # the tokenizer's work
        assert parts == case["segments"]
        compared += 1
    assert compared == {"vary_tiny": 3, "vary_qwen": 4}[cases]


def test_every_reference_prompt_of_vary(golden):
    meta = golden("vary/prompts").meta
    picture = f"<img>{{IMGPAD*{meta['image_tokens']}}}</img>"

    def prompt(text, name):
        return text_of([Turn("user", text)], name).replace("<image>", picture)

    for case in meta["inference"]:
        question = case["question"]
        assert prompt(f"<image>{question}", "vary") == case["vary_base"]
        assert prompt(f"<image>\n{question}", "vary") == case["vary_toy"]
        assert prompt(f"<image>\n{question}", "vicuna_v1") == case["vary_tiny_plus"]
        # The reference asks without the newline that precedes every text in its training.
        assert prompt(f"<image>\n{question}", "vary_tiny") == case["vary_tiny"] + "\n"


def opt_s(folder):
    """A byte-level vocabulary like OPT's: `</s>` in front."""
    backend = ByteLevelBPETokenizer.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, bos_token="</s>", eos_token="</s>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>", "<|im_start|>"]})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", tokenizer.bos_token_id)]
    )
    return tokenizer


def beginnings(answer, name, tokenizer):
    """Ids and labels of a sample with an answer, and ids of the prompt that asks for it."""
    turns = [Turn("user", "<image>"), Turn("assistant", answer)]
    ends = {"bos": tokenizer.bos_token, "eos": tokenizer.eos_token}
    whole = tokenize(render(turns, name, **ends), tokenizer)
    return *whole, tokenize(render(turns[:1], name, **ends), tokenizer)[0]


ANSWERS = ["Chapter 1", " indented", "  twice", "\n\nafter a blank line", "\n new", "\t\n\n\n\nx\n", "\n\n\n\n\n1"]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("name", ["vary", "vary_tiny"])
@pytest.mark.parametrize("vocabulary", ["bytes", "opt"])
def test_a_prompt_is_the_beginning_whatever_the_answer_begins_with(name, answer, vocabulary, request):
    if vocabulary == "bytes":
        tokenizer = byte_tokenizer(("<|im_start|>", "<|im_end|>"))
    else:
        tokenizer = opt_s(request.getfixturevalue("bpe_folder"))
    ids, labels, prompt = beginnings(answer, name, tokenizer)
    assert ids[: len(prompt)] == prompt
    assert labels == [IGNORE_INDEX] * len(prompt) + ids[len(prompt) :]
    end = "\n</s>" if name == "vary_tiny" else "<|im_end|>"
    assert tokenizer.decode(ids[len(prompt) :], clean_up_tokenization_spaces=False) == answer + end
    assert ids.count(tokenizer.bos_token_id) == (2 if name == "vary_tiny" and vocabulary == "opt" else 1)


def test_blank_lines_are_one_token_with_the_newline_before_where_they_do_not_stand_apart(bpe_folder):
    """The purpose of `answer_apart`; ChatML keeps LLaVA's behaviour."""
    ids, _, prompt = beginnings("\n\nafter a blank line", "chatml", opt_s(bpe_folder))
    assert ids[: len(prompt)] != prompt


@given(st.text())
def test_any_text_comes_back_byte_by_byte(text):
    ids = BYTES(text, add_special_tokens=False)["input_ids"]
    assert BYTES.decode(ids) == text
    if not any(
        special in text for special in BYTES.all_special_tokens
    ):  # literally they are one token, as in LLaMA's vocabulary
        assert len(ids) == len(text.encode())


def test_separators_of_a_byte_level_vocabulary(bpe_folder):
    backend = ByteLevelBPETokenizer.from_file(str(bpe_folder / "vocab.json"), str(bpe_folder / "merges.txt"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer)
    vocabulary = backend.get_vocab()
    assert (separator_id(",", tokenizer), separator_id("\n", tokenizer)) == (vocabulary[","], vocabulary["Ċ"])


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

"""Talks of three turns, with and without a system text, as each template writes them; and what is learnt of them."""

import re

import pytest

from foveal.models import Processor, Turn, ViewPlan, byte_tokenizer, pretrained_tokenizer
from foveal.models.prompts.templates import render
from foveal.models.prompts.tokenize import tokenize

TALK = [
    *(Turn("user", "<image>\nWhat?"), Turn("assistant", "A cat.")),
    *(Turn("user", "Sure?"), Turn("assistant", "Yes.")),
    *(Turn("user", "Why?"), Turn("assistant", "Ears.")),
]
SYSTEM = Turn("system", "Be brief.")
HELPFUL = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the user "
    "provides, and assist the user with a variety of tasks using natural language."
)
LLAMA_3 = (
    "<|start_header_id|>user<|end_header_id|>\n\n<image>\nWhat?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nA cat.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nSure?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nYes.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nEars.<|eot_id|>"
)
CHATML = (
    "<|im_start|>user\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\nA cat.<|im_end|>\n"
    "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
    "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nEars.<|im_end|>\n"
)
GEMMA = (
    "<image>\nWhat?<end_of_turn>\n<start_of_turn>model\nA cat.<end_of_turn>\n"
    "<start_of_turn>user\nSure?<end_of_turn>\n<start_of_turn>model\nYes.<end_of_turn>\n"
    "<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\nEars.<end_of_turn>\n"
)
POLITE = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
GRANITE = (
    "<|user|>\n<image>\nWhat?\n<|assistant|>\nA cat.</s><|user|>\nSure?\n<|assistant|>\nYes.</s>"
    "<|user|>\nWhy?\n<|assistant|>\nEars.</s>"
)
MISTRAL = (
    "<image>\nWhat? [/INST] A cat. </s>[INST] Sure? [/INST] Yes. </s>[INST] Why? [/INST] Ears. </s>"  # BOS not again
)

ENDS = {
    "internvl": "<|im_end|>",
    "mistral_instruct": " </s>",
    "granite_vision": "</s>",
    "chatml": "<|im_end|>",
    "gemma": "<end_of_turn>",
}


@pytest.mark.parametrize(
    ("name", "alone", "with_system"),
    [
        ("mistral_instruct", "[INST] " + MISTRAL, "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n" + MISTRAL),
        ("llama_3", LLAMA_3, "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>" + LLAMA_3),
        (
            "llava_llama_3",
            f"<|start_header_id|>system<|end_header_id|>\n\n{HELPFUL}<|eot_id|>" + LLAMA_3,
            "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>" + LLAMA_3,
        ),
        (
            "chatml",
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + CHATML,
            "<|im_start|>system\nBe brief.<|im_end|>\n" + CHATML,
        ),
        (
            "granite_vision",
            f"<|system|>\n{POLITE}\n" + GRANITE,
            "<|system|>\nBe brief.\n" + GRANITE,
        ),
        (
            "internvl",
            "<|im_start|>system\n你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的"
            "多模态大语言模型。<|im_end|>\n" + CHATML,
            "<|im_start|>system\nBe brief.<|im_end|>\n" + CHATML,
        ),
        ("gemma", "<start_of_turn>user\n" + GEMMA, "<start_of_turn>user\nBe brief.\n\n" + GEMMA),
    ],
)
def test_three_turns(name, alone, with_system):
    for turns, expected in ((TALK, alone), ([SYSTEM, *TALK], with_system)):
        segments = render(turns, name, bos="<s>", eos="</s>")
        assert "".join(segment.text for segment in segments) == expected
        end = ENDS.get(name, "<|eot_id|>")
        before = " " if name == "mistral_instruct" else ""
        learnt = [segment.text for segment in segments if segment.supervised]
        assert learnt == [f"{before}{answer}{end}" for answer in ("A cat.", "Yes.", "Ears.")]
        # What is asked is what comes before the answer in training.
        asked = "".join(segment.text for segment in render(turns[:-1], name, bos="<s>", eos="</s>"))
        assert expected.startswith(asked + before + "Ears.")


@pytest.mark.parametrize("system", [[], [SYSTEM]])
def test_mistral_s_ids_have_one_bos(sentencepiece_folder, system):
    tokenizer = pretrained_tokenizer(str(sentencepiece_folder))
    ids, labels = tokenize(render([*system, *TALK], "mistral_instruct", bos="<s>", eos="</s>"), tokenizer)
    assert [ids.count(1), ids.index(1)] == [1, 0]
    rounds, starts = [], 0
    for stop in (place for place, number in enumerate(ids) if number == 2):
        learnt = [label for label in labels[starts : stop + 1] if label != -100]
        rounds.append(tokenizer.decode(learnt))
        assert labels[stop] == 2
        starts = stop + 1
    assert rounds == ["A cat. </s>", "Yes. </s>", "Ears. </s>"]
    assert starts == len(ids)


@pytest.mark.parametrize("name", ["llama_3", "gemma"])
def test_space_around_texts_is_left_out(name):
    spaced = [Turn("system", " Be brief.\n"), Turn("user", "\n<image>\nWhat? "), Turn("assistant", "\n A cat.\n")]
    tidy = [SYSTEM, *TALK[:2]]
    assert render(spaced, name, bos="", eos="") == render(tidy, name, bos="", eos="")


class OneView(ViewPlan):
    """Not used: the talks here have no pictures."""

    def views(self, picture):
        return ()

    def cut(self, image):
        return []


def test_answers_of_llama_3_end_in_two_ways():
    tokenizer = byte_tokenizer(["<|eot_id|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"])
    ours = Processor(tokenizer, OneView(), count=lambda size: (), template="llama_3")
    assert ours.stop_ids == [2, 260, 261]
    with pytest.raises(ValueError, match="the template gemma ends an answer with <end_of_turn>, which is not a token"):
        Processor(tokenizer, OneView(), count=lambda size: (), template="gemma")


@pytest.mark.parametrize(
    ("template", "known", "missing"),
    [
        ("chatml", ["<|im_end|>"], "<|im_start|>"),
        ("qwen3_vl", ["<|im_end|>"], "<|im_start|>"),
        ("internvl", ["<|im_end|>"], "<|im_start|>"),
        ("vary", ["<|im_end|>"], "<|im_start|>"),
        ("gemma", ["<end_of_turn>"], "<start_of_turn>"),
        ("llama_3", ["<|eot_id|>", "<|start_header_id|>"], "<|end_header_id|>"),
        ("phi3", ["<|end|>", "<|system|>", "<|user|>"], "<|assistant|>"),
    ],
)
def test_a_template_with_a_mark_that_is_no_token(template, known, missing):
    with pytest.raises(ValueError, match=f"the template {template} writes {re.escape(missing)}, which is not a token"):
        Processor(byte_tokenizer(known), OneView(), count=len, template=template)
    assert Processor(byte_tokenizer([*known, missing]), OneView(), count=len, template=template)


@pytest.mark.parametrize(
    "template", ["plain", "vicuna_v1", "llama_2", "mistral_instruct", "granite_vision", "deepseek_ocr2", "vary_tiny"]
)
def test_templates_of_ordinary_text_need_no_tokens(template):
    assert Processor(byte_tokenizer(), OneView(), count=len, template=template)

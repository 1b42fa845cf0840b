"""`template: chat`: the tokenizer's own chat template, with ids and labels from one pass."""

import pytest
from PIL import Image

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import (
    IMAGE_TOKEN_ID,
    PadToSquare,
    Turn,
    VisionLanguageModel,
    byte_tokenizer,
    generate,
    load,
    pretrained_tokenizer,
    qwen3,
    save,
)
from foveal.models.prompts.chat import answer_ends, prompt_segments
from foveal.models.prompts.tokenize import tokenize

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content | trim }} [/INST]{% else %} {{ m.content | trim }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)
REASONING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
ONE = [Turn("user", "<image>\nWhat?"), Turn("assistant", "A cat.")]
THREE = [*ONE, Turn("user", "é?"), Turn("assistant", "Yes."), Turn("user", "Why?"), Turn("assistant", "\nEars.\n")]
SYSTEM = Turn("system", "Be brief.")


def tokenizer_with(template, tokenizer=None):
    tokenizer = tokenizer or byte_tokenizer(["<|im_start|>", "<|im_end|>"])
    tokenizer.chat_template = template
    return tokenizer


def text_of(turns, tokenizer, name="chat", system=None):
    return "".join(segment.text for segment in prompt_segments(turns, name, tokenizer, system=system))


@pytest.mark.parametrize("turns", [ONE, THREE, [SYSTEM, *THREE], THREE[:-1], [SYSTEM, *THREE[:-1]]])
@pytest.mark.parametrize("system", [None, "", "Be kind."])
def test_as_our_own_template_of_the_same_texts(turns, system):
    tokenizer = tokenizer_with(CHATML)
    ours = text_of(turns, tokenizer, "chatml", system=system or "")
    assert text_of(turns, tokenizer, system=system) == ours


@pytest.mark.parametrize("template", [CHATML, BRACKETS])
@pytest.mark.parametrize("is_byte_level", [True, False])
def test_ids_are_the_tokenizer_s_and_labels_the_answers(template, is_byte_level, sentencepiece_folder):
    """BOS comes from the template alone; with <image> cut out, the rest is what `apply_chat_template` gives."""
    words = ["<|im_start|>", "<|im_end|>"]
    tokenizer = byte_tokenizer(words) if is_byte_level else pretrained_tokenizer(str(sentencepiece_folder), words)
    tokenizer = tokenizer_with(template, tokenizer)
    turns = [Turn(turn.role, turn.text.replace("<image>\n", "")) for turn in THREE]
    segments = prompt_segments(turns, "chat", tokenizer, system=None)
    ids, labels = tokenize(segments, tokenizer, add_special_tokens=False)
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    assert ids == tokenizer.apply_chat_template(messages, return_dict=False)
    assert ids.count(tokenizer.bos_token_id) == int(template == BRACKETS)
    assert all(label in (token, -100) for token, label in zip(ids, labels, strict=True))
    end = "<|im_end|>\n" if template == CHATML else "</s>"
    answers = ("A cat.", "Yes.", "\nEars.\n" if template == CHATML else "Ears.")
    before = "" if template == CHATML else " "
    assert [s.text for s in segments if s.supervised] == [before + answer + end for answer in answers]
    if is_byte_level:
        learnt = tokenizer.decode([label for label in labels if label != -100])
        assert learnt == "".join(segment.text for segment in segments if segment.supervised)


def test_pictures_cut_the_text(sentencepiece_folder):
    """What follows a picture begins anew, and loses no token although the template writes BOS itself."""
    tokenizer = tokenizer_with(BRACKETS, pretrained_tokenizer(str(sentencepiece_folder)))
    segments = prompt_segments(THREE, "chat", tokenizer, system=None)
    ids, _ = tokenize(segments, tokenizer, add_special_tokens=False)
    first, second = "".join(segment.text for segment in segments).split("<image>")
    parts = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (first, second)]
    assert ids == [*parts[0], IMAGE_TOKEN_ID, *parts[1]]
    assert ids[0] == tokenizer.bos_token_id


def test_reasoning_is_off_and_not_learnt_over_several_turns():
    tokenizer = tokenizer_with(REASONING)
    asked = "<|im_start|>user\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    segments = prompt_segments(ONE, "chat", tokenizer, system=None)
    assert [(s.text, s.supervised) for s in segments] == [(asked, False), ("A cat.<|im_end|>\n", True)]
    assert text_of(ONE[:1], tokenizer) == asked
    # A later question may be asked: then earlier reasoning is not needed.
    assert text_of(THREE[:3], tokenizer).startswith(
        "<|im_start|>user\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\nA"
    )
    with pytest.raises(ValueError, match="changes what comes before turn 3, as those do that leave out earlier reason"):
        prompt_segments(THREE, "chat", tokenizer, system=None)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "the tokenizer has no chat template, which the template chat uses"),
        (CHATML.replace("<|im_end|>\n", "\n"), "ends an answer with '', which does not begin with a special token"),
        (CHATML.replace("<|im_end|>\n", " END\n"), "ends an answer with 'END', which does not begin with a special"),
        ("{{ 1 // 0 }}", "chat template refuses the conversation"),
        ("{% for m in messages", "chat template refuses the conversation"),
        ("{% for m in messages %}{{ m.none.text }}{% endfor %}", "chat template refuses the conversation"),
    ],
)
def test_templates_that_cannot_be_used(template, message):
    with pytest.raises(ValueError, match=message):
        answer_ends("chat", tokenizer_with(template))


def test_a_template_without_a_system_role():
    tokenizer = tokenizer_with(BRACKETS)
    assert answer_ends("chat", tokenizer) == ("</s>",)
    with pytest.raises(ValueError, match=r"chat template refuses the conversation \(no system role\)"):
        prompt_segments([SYSTEM, *ONE], "chat", tokenizer, system=None)


def test_a_model(tmp_path):
    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 24, 7, 28),
        MlpProjector,
        qwen3(262, width=32, depth=1, heads=2, mlp_width=32),
        tokenizer_with(CHATML),
        PadToSquare(28),
        template="chat",
    )
    again = load(save(model, tmp_path / "checkpoint"))
    picture = Image.new("RGB", (30, 20), "red")
    for each in (model.eval(), again):
        assert each.processor.stop_ids == [2, 261]
        whole, asked = each.processor.encode([picture], ONE), each.processor.encode_prompt([picture], ONE[:1])
        assert whole.input_ids.tolist()[: len(asked.input_ids)] == asked.input_ids.tolist()
        assert each.processor.tokenizer.decode(whole.labels[whole.labels != -100]) == "A cat.<|im_end|>\n"
    batches = [each.processor.collate([each.processor.encode_prompt([picture], ONE[:1])]) for each in (model, again)]
    assert generate(model, batches[0], max_new_tokens=4) == generate(again, batches[1], max_new_tokens=4)

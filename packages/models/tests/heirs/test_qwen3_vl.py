"""Qwen3-VL beside transformers' own class and processor."""

import pytest
import torch
from packages.models.tests.heirs.comparisons import check_saved_and_quantised, not_learnt
from packages.models.tests.heirs.references import byte_level, noise, stating
from transformers import (
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from foveal.models import IMAGE_TOKEN_ID, Turn, answer, answer_batch, generate, load, stream
from foveal.models.generation import cuda_graphs
from foveal.models.generation import generate as generation

SPECIAL = [
    f"<|{name}|>"
    for name in ["endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad"]
]
VISION = {
    "depth": 4,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "patch_size": 8,
    "num_position_embeddings": 36,
    "out_hidden_size": 64,
    "deepstack_visual_indexes": [0, 1, 2],
}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 800,
    "rope_theta": 5000.0,
    "rope_scaling": {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True},
}
"""With the rotary settings as the published files have them."""
PIXELS = {"shortest_edge": 4 * 16 * 16, "longest_edge": 40 * 16 * 16}
HALF = [0.5, 0.5, 0.5]
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% if message.content is string %}"
    "{{ message.content }}{% else %}{% for part in message.content %}{% if part.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""What the published template writes for such conversations."""


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level(
        "\nWhat is it? user\nAnd this? system\n",
        280,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL,
        chat_template=CHAT,
    )


def theirs(tokenizer, *, tied):
    torch.manual_seed(0)
    start, end, image = tokenizer.convert_tokens_to_ids(SPECIAL[3:6])
    ids = {"image_token_id": image, "vision_start_token_id": start, "vision_end_token_id": end}
    text = TEXT | {"vocab_size": len(tokenizer)}
    config = Qwen3VLConfig(vision_config=VISION, text_config=text, tie_word_embeddings=tied, **ids)
    model = Qwen3VLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * (0.15 if weight.ndim > 1 else 0.3) + (weight.ndim == 1))
    return model


@pytest.fixture(scope="module")
def reference(tokenizer):
    return theirs(tokenizer, tied=False)


@pytest.fixture(scope="module")
def processor(tokenizer):
    images = Qwen2VLImageProcessorPil(patch_size=8, size=PIXELS, image_mean=HALF, image_std=HALF)
    return Qwen3VLProcessor(images, tokenizer, Qwen3VLVideoProcessor(patch_size=8), chat_template=CHAT)


def written(model, processor, folder):
    model.save_pretrained(folder)
    processor.tokenizer.save_pretrained(folder)
    processor.image_processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(reference, processor, tmp_path_factory):
    return written(reference, processor, tmp_path_factory.mktemp("qwen3_vl"))


@pytest.fixture
def model(folder):
    return load(folder)


PICTURES = [noise(130, 70), noise(30, 90, 1), noise(9, 9, 2)]


def conversation(*parts, system=None):
    """The same conversation for our processor and for theirs: texts, and None for a picture."""
    ours = "".join("<image>\n" if part is None else part for part in parts)
    content = [{"type": "image"} if part is None else {"type": "text", "text": part} for part in parts]
    before = [] if system is None else [("system", system)]
    return (
        [*(Turn(role, text) for role, text in before), Turn("user", ours)],
        [*({"role": role, "content": text} for role, text in before), {"role": "user", "content": content}],
    )


def asked(processor, messages, pictures):
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    return processor(text=[text], images=pictures or None, return_tensors="pt")


@pytest.mark.parametrize(
    ("parts", "pictures", "system"),
    [
        ((None, "What is it?"), PICTURES[:1], None),
        (("First ", None, "then ", None, None, "?"), PICTURES, "You are brief."),
        (("No picture?",), [], None),
    ],
)
def test_beside_transformers(model, reference, processor, parts, pictures, system):
    """The same views, ids, logits and greedy tokens."""
    turns, messages = conversation(*parts, system=system)
    sample, given = model.processor.encode_prompt(pictures, turns), asked(processor, messages, pictures)
    ids = sample.input_ids[None]
    assert ids.where(ids != IMAGE_TOKEN_ID, processor.image_token_id).tolist() == given["input_ids"].tolist()
    grids = given.get("image_grid_thw", torch.zeros(0, 3, dtype=torch.long)).tolist()
    assert [[1, view.shape[1] // 8, view.shape[2] // 8] for view in sample.views] == grids
    if pictures:
        patches = given["pixel_values"].unflatten(1, (3, 2, 8, 8)).split([rows * columns for _, rows, columns in grids])
        for view, patch, (_, rows, columns) in zip(sample.views, patches, grids, strict=True):
            blocks = patch[:, :, 1].unflatten(0, (rows // 2, columns // 2, 2, 2)).permute(4, 0, 2, 5, 1, 3, 6)
            torch.testing.assert_close((view / 255 - 0.5) / 0.5, blocks.reshape(view.shape), atol=2e-6, rtol=0)
    batch = model.processor.collate([sample], side="left")
    with torch.no_grad():
        expected = reference(**given).logits
        found = model(batch.input_ids, batch.views, batch.attention_mask, None, batch.sizes, batch.position_ids)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        tokens = reference.generate(**given, do_sample=False, max_new_tokens=8, eos_token_id=model.processor.stop_ids)
    assert generate(model, batch, max_new_tokens=8) == [model.processor.decode(tokens[0, ids.shape[1] :])]


def test_ways_to_ask(model, monkeypatch):
    """Streamed, in a batch with texts of other lengths, and with captured steps."""
    expected = answer(model, PICTURES[0], "What is it?", max_new_tokens=8)
    assert "".join(stream(model, PICTURES[0], "What is it?", max_new_tokens=8)).strip() == expected
    questions = [(PICTURES[0], "What is it?"), ([], "Hi"), (PICTURES[1:], "And this, please?")]
    together = answer_batch(model, questions, max_new_tokens=8)
    assert together == [answer(model, *question, max_new_tokens=8) for question in questions]
    monkeypatch.setattr(generation, "graphs_obstacle", lambda *_: None)
    monkeypatch.setattr(cuda_graphs.Steps.__init__, "__kwdefaults__", {"capture": lambda step: step})
    assert answer(model, PICTURES[0], "What is it?", max_new_tokens=8, cuda_graphs=True) == expected


@pytest.mark.slow
def test_saved_and_quantised(folder, tmp_path):
    saved, _ = check_saved_and_quantised(folder, tmp_path, PICTURES[:1], "<image>\nWhat?")
    assert saved.processor.encode_prompt(PICTURES, conversation(None, None, None)[0]).position_ids is not None


def test_tied_tables(tokenizer, processor, tmp_path):
    model = load(written(theirs(tokenizer, tied=True), processor, tmp_path))
    assert model.language_model.lm_head.weight is model.language_model.get_input_embeddings().weight
    assert model.language_model.config.rope_parameters["rope_theta"] == 5000.0


def test_a_step_reaches_every_part(model):
    model.train()
    turns = [Turn("user", "<image>\nWhat?"), Turn("assistant", "some text")]
    assert not_learnt(model, model.processor.collate([model.processor.encode(PICTURES[:1], turns)])) == []


@pytest.mark.parametrize(
    ("file", "changed", "message"),
    [
        ("preprocessor_config.json", {"patch_size": 16}, "patch_size is 16, .*: only 8 goes with the tower"),
        ("config.json", {"vision_config": VISION | {"hidden_act": "relu"}}, "hidden_act 'relu', only 'gelu_pyt"),
        ("config.json", {"vision_config": VISION | {"out_hidden_size": 32}}, "out_hidden_size 32, text_config .* 64"),
        ("config.json", {"vision_config": VISION | {"num_position_embeddings": 35}}, "35 positions, which form no"),
        ("config.json", {"vision_config": VISION | {"deepstack_visual_indexes": [2, 1]}}, "from shallow to deep"),
        ("config.json", {"vision_config": VISION | {"deepstack_visual_indexes": [1, 2, 4]}}, "blocks from 0 to 3"),
        ("config.json", {"vision_end_token_id": 9}, r"vision_end_token_id is 9 .*id of <\|vision_end\|>"),
        ("config.json", {"model_type": "qwen3_vl_moe"}, "of kind 'qwen3_vl_moe', not known; known are .*qwen3_vl"),
    ],
)
def test_settings_that_cannot_be_honoured(copied, file, changed, message):
    stating(copied, file, **changed)
    with pytest.raises(ValueError, match=message):
        load(copied)


def test_a_thinking_edition_is_refused(copied):
    (copied / "chat_template.jinja").write_text(CHAT.replace("assistant\n", "assistant\n<think>\n"))
    with pytest.raises(ValueError, match="a thinking edition, whose prompts open <think> before the answer"):
        load(copied)
    assert load(copied, template="qwen3_vl").processor.template == "qwen3_vl"


def test_a_folder_without_settings_of_pictures(copied, caplog):
    (copied / "preprocessor_config.json").unlink()
    with caplog.at_level("INFO"):
        plan = load(copied).processor.plan
    assert (plan.cell, plan.min_pixels, plan.max_pixels) == (16, 65_536, 16_777_216)
    assert "no file says how pictures are resized" in caplog.text

"""InternVL beside transformers' own class and processor."""

import pytest
from packages.models.tests.heirs.comparisons import check_saved_and_quantised, not_learnt
from packages.models.tests.heirs.internvl.folders import (
    LARGE,
    MESSAGES,
    QUESTION,
    VISION,
    as_the_authors_write,
    asked,
    check_beside,
    theirs,
)
from packages.models.tests.heirs.references import noise
from transformers import LlamaConfig, Qwen3Config

from foveal.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD
from foveal.models import DynamicTilesPlan, Turn, load

KINDS = {
    "Qwen2": {},
    "Qwen3": {"text": Qwen3Config, "tied": True},
    "LLaMA, large tower": {"text": LlamaConfig, "vision": LARGE},
    "another layer": {"vision_feature_layer": -2},
    "a norm behind the tower": {"vision": VISION | {"use_mean_pooling": False}},
    "a token that hides patches": {"vision": VISION | {"use_mask_token": True}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_beside_transformers(write, processor, kind):
    reference = theirs(processor, **KINDS[kind])
    model = load(write(reference))
    assert isinstance(model.processor.plan, DynamicTilesPlan)
    picture = noise(95, 60)
    expected = asked(processor, [picture], MESSAGES)
    assert len(expected["pixel_values"]) == 7  # 3x2 tiles and the thumbnail
    check_beside(model, reference, [picture], QUESTION, expected)


@pytest.mark.parametrize("size", [(28, 28), (20, 41), (200, 20), (125, 100), (61, 300)])
def test_other_pictures(write, processor, size):
    reference, picture = theirs(processor), noise(*size)
    model = load(write(reference))
    check_beside(model, reference, [picture], QUESTION, asked(processor, [picture], MESSAGES))


def test_several_pictures_and_turns(write, processor):
    reference = theirs(processor)
    pictures = [noise(50, 30), noise(30, 50, 1), noise(28, 28, 2)]
    turns = [
        Turn("system", "Be brief."),
        Turn("user", "<image>\n<image>\nCompare."),
        Turn("assistant", "One is wide."),
        Turn("user", "And <image>?"),
    ]
    messages = [{"role": turn.role, "content": turn.text.replace("<image>", "<IMG_CONTEXT>")} for turn in turns]
    check_beside(load(write(reference)), reference, pictures, turns, asked(processor, pictures, messages))


def test_what_the_folder_says_about_tiles(write, processor):
    folder = write(theirs(processor))
    processor.image_processor.max_patches = 4
    # Written in a file, but never done.
    processor.image_processor.do_center_crop, processor.image_processor.crop_size = True, {"height": 20, "width": 20}
    processor.save_pretrained(folder)
    picture = noise(95, 60)
    found = load(folder).processor.encode_prompt([picture], QUESTION).views
    assert len(found) == len(processor(images=[picture], text="<IMG_CONTEXT>")["pixel_values"]) == 3
    (folder / "processor_config.json").unlink()
    model = load(folder)
    assert (model.processor.plan.min_tiles, model.processor.plan.max_tiles) == (1, 12)
    assert (model.encoder.image_mean, model.encoder.image_std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_the_prompt_is_that_of_the_chat_template(write, processor):
    folder = write(theirs(processor))
    template = folder / "chat_template.jinja"
    written = template.read_text()
    template.write_text("{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}" + written)
    model = load(folder)
    assert (model.processor.template, model.processor.system) == ("internvl", "Be brief.")
    # Another than ChatML, as of GPT-OSS, is used itself.
    template.write_text(written.replace("message['role']", "message['role'] + '!'"))
    assert load(folder).processor.template == "chat"
    template.unlink()
    assert load(folder).processor.system == ""


@pytest.mark.parametrize("layout", ["transformers", "original"])
def test_saved_and_quantised(write, processor, tmp_path, layout):
    folder = write(theirs(processor))
    if layout == "original":
        as_the_authors_write(folder)
    check_saved_and_quantised(folder, tmp_path, [noise(60, 90)], "<image>\nWhat is it?")


def test_a_step_reaches_every_part(write, processor):
    model = load(write(theirs(processor, vision=LARGE))).train()
    batch = model.processor.collate([model.processor.encode([noise(50, 30)], [*QUESTION, Turn("assistant", "a cat")])])
    assert not_learnt(model, batch) == []

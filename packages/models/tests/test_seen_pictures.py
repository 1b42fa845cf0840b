"""Pictures that were encoded already: the same answers, and no second encoding."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import (
    AnyResMerge,
    AnyResPlan,
    DeepStackMerge,
    DeepStackPlan,
    SeenPictures,
    Turn,
    UhdPlan,
    VisionLanguageModel,
    byte_tokenizer,
    generate,
    llama,
)

METHODS = {
    "uhd": (UhdPlan(28, 7, 4), None),
    "anyres": (AnyResPlan(28), AnyResMerge),
    "deepstack": (DeepStackPlan(28), DeepStackMerge),
}


def model_of(method):
    torch.manual_seed(5)
    plan, merge = METHODS[method]
    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 24, 7, 28),
        MlpProjector,
        llama(260, width=32, depth=6, heads=2, mlp_width=48, context=500),
        byte_tokenizer(),
        plan,
        merge=merge,
        system="",
        max_length=400,
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    return model.eval()


def picture(width, height, seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


PICTURES = [picture(60, 40, 1), picture(40, 60, 2), picture(60, 40, 3)]
ASKED = [([0], "What?"), ([0, 1], "Both?"), ([1], "It?"), ([], "Text?"), ([2], "What?"), ([0], "Again?")]


def prompts(model):
    for pictures, text in ASKED:
        turn = Turn("user", "<image>" * len(pictures) + text)
        yield model.processor.encode_prompt([PICTURES[each] for each in pictures], [turn])


def answers(model, samples, size, seen=None):
    found = []
    for start in range(0, len(samples), size):
        batch = model.processor.collate(samples[start : start + size], side="left")
        found += generate(model, batch, max_new_tokens=6, seen=seen)
    return found


@pytest.mark.parametrize("size", [1, 3, 6])
@pytest.mark.parametrize("method", METHODS)
def test_answers_stay_the_same(method, size):
    model = model_of(method)
    samples = list(prompts(model))
    plain = answers(model, samples, size)
    assert len(set(plain)) > 2
    seen = SeenPictures(model)
    assert answers(model, samples, size, seen) == plain
    units = sum(len(sample.sizes if model.merge else sample.views) for sample in samples)
    different = 3 if model.merge else len({view.numpy().tobytes() for sample in samples for view in sample.views})
    assert (seen.encoded, seen.reused) == (different, units - different)
    assert answers(model, samples, size, seen) == plain
    assert seen.encoded == different


def test_only_what_there_is_room_for_is_kept():
    model = model_of("anyres")
    samples = list(prompts(model))
    one = SeenPictures(model)(samples[0].views, samples[0].sizes)[0].tokens
    seen = SeenPictures(model, max_bytes=one.numel() * one.element_size())
    for number in (0, 0, 4, 4, 0):
        seen(samples[number].views, samples[number].sizes)
    assert (seen.encoded, seen.reused) == (3, 2)
    assert answers(model, samples, 3, SeenPictures(model, max_bytes=0)) == answers(model, samples, 3)


def test_another_question_about_a_picture_does_not_cut_it_again():
    model = model_of("anyres")
    processor = model.processor
    first = processor.encode_prompt([PICTURES[0]], [Turn("user", "<image>What?")], key="a")
    turns = [Turn("user", "<image>And now?")]
    again = processor.encode_prompt([PICTURES[0]], turns, key="b", like=first)
    plain = processor.encode_prompt([PICTURES[0]], turns, key="b")
    assert again.views is first.views
    assert torch.equal(again.input_ids, plain.input_ids)
    other = processor.encode_prompt([PICTURES[1]], turns, like=first)
    assert torch.equal(other.views[0], processor.encode_prompt([PICTURES[1]], turns).views[0])

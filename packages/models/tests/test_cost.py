"""Tokens, parameters and FLOPs from shapes, against hand-made formulas (two FLOPs for each multiply-add)."""

import argparse
from functools import partial

import pytest
import torch

from foveal.connectors import DAbstractor, MlpProjector, SpatialResampler
from foveal.core import Size
from foveal.encoders import VisionTransformer
from foveal.models import (
    DeepStackMerge,
    DeepStackPlan,
    OneVisionMerge,
    OneVisionPlan,
    PadToSquare,
    UhdPlan,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
    qwen3,
)
from foveal.models.estimates.cost import Parts, cost, parameters, picture_size, prefill, pretended, prompt_tokens
from foveal.models.estimates.memory import answering

WIDTH, MLP_WIDTH, DEPTH, VOCABULARY = 48, 128, 6, 300
ENCODER, ENCODER_MLP, ENCODER_DEPTH, PATCH = 24, 60, 3, 8


def built(plan, connector=MlpProjector, merge=None, language_model=llama):
    with torch.device("meta"):
        return VisionLanguageModel(
            VisionTransformer(ENCODER, ENCODER_DEPTH, 2, ENCODER_MLP, PATCH, 32, layers=(-1,)),
            connector,
            language_model(VOCABULARY, width=WIDTH, depth=DEPTH, heads=4, mlp_width=MLP_WIDTH, context=4096),
            byte_tokenizer(),
            plan,
            merge=merge,
            max_length=4096,
        )


def decoder_flops(tokens):
    linear = 2 * tokens * (4 * WIDTH**2 + 3 * WIDTH * MLP_WIDTH)
    return DEPTH * (linear + 4 * tokens**2 * WIDTH) + 2 * WIDTH * VOCABULARY


def encoder_flops(patches):
    embedding = 2 * patches * 3 * PATCH**2 * ENCODER
    linear = 2 * (patches + 1) * (4 * ENCODER**2 + 2 * ENCODER * ENCODER_MLP)
    return embedding + ENCODER_DEPTH * (linear + 4 * (patches + 1) ** 2 * ENCODER)


def test_queries_that_are_parts_of_a_weight():
    connector = partial(DAbstractor, rows=2, columns=2, base_grid=(4, 4), hidden_width=24, heads=2, mlp_width=48)
    found = cost(built(PadToSquare(32), connector), [Size(300, 200)], text=1)
    assert (found.visual, found.flops.language_model) == (4, decoder_flops(5))


@pytest.mark.parametrize("text", [1, 64])
def test_a_square_picture_against_the_formulas(text):
    found = cost(built(PadToSquare(64)), [Size(300, 200)], text=text)
    assert (found.views, found.visual, found.marks, found.stacked) == (1, 64, 0, 0)
    assert found.flops == Parts(encoder_flops(64), 2 * 64 * (ENCODER * WIDTH + WIDTH**2), decoder_flops(64 + text))
    assert found.flops.total == found.flops.encoder + found.flops.connector + found.flops.language_model


def test_several_pictures_are_cut_as_in_a_prompt():
    """LLaVA-OneVision's, of which a single one has tiles, and each of several one view."""
    model = built(OneVisionPlan(32, [(1, 2), (2, 2)]), merge=OneVisionMerge)
    sizes = [Size(300, 200), Size(64, 64)]
    found = cost(model, sizes, text=1)
    assert (found.views, found.visual, prompt_tokens(model, sizes)) == (2, 2 * 17, (2 * 17, 0))
    assert cost(model, sizes[:1], text=1).views > 2
    assert answering(model, sizes, text=1, new_tokens=1).cache < answering(model, sizes[:1], text=1, new_tokens=1).cache


def test_stacks_cost_the_encoder_and_not_the_language_model():
    found = cost(built(DeepStackPlan(32), merge=DeepStackMerge), [Size(64, 64)], text=10)
    assert (found.views, found.visual, found.stacked) == (5, 16, 4 * 16)
    assert found.flops.encoder == 5 * encoder_flops(16)
    assert found.flops.language_model == decoder_flops(16 + 10)


def test_marks_are_text():
    model = built(UhdPlan(scale=32, patch=8), partial(SpatialResampler, queries=4, heads=4))
    found = cost(model, [Size(64, 96)], text=10)
    assert (found.views, found.visual, found.marks) == (7, 28, 6)
    assert found.flops.language_model == decoder_flops(28 + 6 + 10)


def test_several_pictures_add_up_and_none_is_text():
    model = built(PadToSquare(32))
    one, two = (cost(model, [Size(40, 50)] * number, text=10) for number in (1, 2))
    assert two.flops.encoder == 2 * one.flops.encoder
    assert (two.views, two.visual) == (2, 32)
    assert two.flops.language_model == decoder_flops(32 + 10)
    assert cost(model, [], text=10).flops == Parts(0, 0, decoder_flops(10))


def test_parameters():
    found = parameters(built(PadToSquare(32)))
    linear, norms = 4 * WIDTH**2 + 3 * WIDTH * MLP_WIDTH, 2 * WIDTH
    assert found.language_model == DEPTH * (linear + norms) + WIDTH + 2 * VOCABULARY * WIDTH
    assert found.connector == ENCODER * WIDTH + WIDTH + WIDTH**2 + WIDTH
    assert found.total == sum(weight.numel() for weight in built(PadToSquare(32)).parameters())


def test_prefill_is_of_the_last_tokens_logits():
    model = built(PadToSquare(32)).language_model
    assert prefill(model, 100) == decoder_flops(100)


def test_a_pretended_copy_keeps_what_is_shared_and_what_is_frozen():
    model = built(PadToSquare(32), language_model=qwen3)
    model.encoder.requires_grad_(False)
    with pretended(model) as copy:
        tables = copy.language_model.get_input_embeddings().weight, copy.language_model.get_output_embeddings().weight
        assert tables[0] is tables[1]
        assert copy.processor is model.processor
        assert not any(weight.requires_grad for weight in copy.encoder.parameters())
        assert all(weight.requires_grad for weight in copy.language_model.parameters())
        assert all(weight.device.type == "cpu" for weight in copy.parameters())
    assert all(weight.is_meta for weight in model.parameters())


def test_pictures_that_are_refused():
    model = built(PadToSquare(32))
    for count in (partial(cost, text=1), prompt_tokens):
        with pytest.raises(ValueError, match="1x90000000 pixels is too long"):
            count(model, [Size(1, 90_000_000)])


def test_a_picture_size_is_read_or_refused():
    assert picture_size("1000x3000") == (1000, 3000)
    for text in ("1000", "1000x", "x3000", "0x10", "-1x10", "1x2x3", "1.5x2"):
        with pytest.raises(argparse.ArgumentTypeError, match="WIDTHxHEIGHT"):
            picture_size(text)

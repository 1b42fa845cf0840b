"""LLaVA-UHD v2 and v3 as whole models: counts, saved and loaded, quantised, trained; their parts have references."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.connectors import HiwinAttention, MlpProjector
from foveal.core import Size
from foveal.encoders import InverseSemanticPyramid, MoonViT, VisionTransformer
from foveal.models import (
    IMAGE_TOKEN_ID,
    Turn,
    UhdPlan,
    UhdV3Plan,
    VisionLanguageModel,
    answer,
    byte_tokenizer,
    llama,
    load,
    save,
)
from foveal.models.language_models.quantize import quantize

WIDTH = 64
METHODS = {
    "uhd_v2": (
        lambda: InverseSemanticPyramid(VisionTransformer(16, 2, 2, 24, 4, 16), scales=(1, 4)),
        partial(HiwinAttention, queries=9, heads=4),
        UhdPlan(16, 4, 4),
    ),
    "uhd_v3": (
        lambda: MoonViT(16, 3, 2, 24, 4, 32, compress_after=(1, 2)),
        MlpProjector,
        UhdV3Plan(16, 96, smallest=32, longest=160, enlarge=1.4),
    ),
}
EVERY = pytest.mark.parametrize("method", METHODS)
SIDES = st.integers(1, 300)


def made(method):
    """A model with random weights, none of which is zero."""
    encoder, connector, plan = METHODS[method]
    torch.manual_seed(0)
    decoder = llama(260, width=WIDTH, depth=2, heads=4, mlp_width=2 * WIDTH, context=1024)
    model = VisionLanguageModel(encoder(), connector, decoder, byte_tokenizer(), plan, system="", max_length=1024)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)
    return model.eval()


@pytest.fixture(scope="module")
def models():
    with torch.random.fork_rng():
        return {method: made(method) for method in METHODS}


def picture(width, height):
    return Image.fromarray(np.random.default_rng(width).integers(0, 255, (height, width, 3), dtype=np.uint8))


def batch_of(model, *sizes):
    turns = [Turn("user", "<image>\n" * len(sizes) + "What?"), Turn("assistant", "An answer.")]
    return model.processor.collate([model.processor.encode([picture(*size) for size in sizes], turns)])


def logits(model, *sizes):
    batch = batch_of(model, *sizes)
    with torch.no_grad():
        return model(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes)


def replies(model):
    return [answer(model, picture(*size), "What?", max_new_tokens=8) for size in ((60, 40), (20, 70))]


@settings(max_examples=60, deadline=None)
@given(width=SIDES, height=SIDES)
def test_tokens_of_v2_are_those_of_slices_and_overview(models, width, height):
    plan, counted = METHODS["uhd_v2"][2], models["uhd_v2"].processor.count(Size(width, height))
    grid = plan.grid(Size(width, height))
    slices = 0 if grid is None else grid.cells
    assert [item for item in counted if isinstance(item, int)] == [9] * (slices + 1)
    assert len(counted) == 2 * slices + 1


@settings(max_examples=60, deadline=None)
@given(width=SIDES, height=SIDES)
def test_tokens_of_v3_are_windows_of_the_whole_picture(models, width, height):
    (view,) = METHODS["uhd_v3"][2].views(Size(width, height))
    assert models["uhd_v3"].processor.count(Size(width, height)) == [view.area // 16**2]


@EVERY
@pytest.mark.parametrize("size", [(1, 1), (2, 500), (500, 2), (60, 45), (17, 300)])
def test_as_many_tokens_as_counted(models, method, size):
    model = models[method]
    batch = batch_of(model, size)
    with torch.no_grad():
        tokens = model.visual_tokens(batch.views)
    assert sum(map(len, tokens)) == int((batch.input_ids == IMAGE_TOKEN_ID).sum())
    assert all(bool(each.isfinite().all()) for each in tokens)


@EVERY
def test_views_of_several_pictures_are_those_of_each(models, method):
    model, sizes = models[method], ((60, 40), (20, 70), (60, 40))
    with torch.no_grad():
        together = model.visual_tokens(batch_of(model, *sizes).views)
        alone = [tokens for size in sizes for tokens in model.visual_tokens(batch_of(model, size).views)]
    for ours, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@EVERY
def test_saved_and_loaded_again(models, method, tmp_path):
    model = models[method]
    again = load(save(model, tmp_path / "saved"))
    assert again.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(logits(again, (60, 40)), logits(model, (60, 40)))
    assert replies(again) == replies(model)


@EVERY
def test_quantised_while_loading_and_saved_again(method, tmp_path):
    model = made(method)
    plain = save(model, tmp_path / "plain")
    quantize(model.language_model, "nf4-dq")
    quantised = load(plain, quantize="nf4-dq")
    again = load(save(quantised, tmp_path / "quantised"))
    expected = logits(model, (60, 40))
    assert torch.equal(logits(quantised, (60, 40)), expected)
    assert torch.equal(logits(again, (60, 40)), expected)
    assert replies(again) == replies(quantised) == replies(model)


@EVERY
def test_a_few_steps_of_training_fit_one_answer(method):
    model = made(method).train()
    batch, optimizer = batch_of(model, (60, 40)), torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = model.loss(batch)
        (loss.total / loss.tokens).backward()
        optimizer.step()
        losses.append(float(loss.total.detach()) / loss.tokens)
    assert losses[-1] < 0.5 * losses[0]
    missed = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
    assert missed == []

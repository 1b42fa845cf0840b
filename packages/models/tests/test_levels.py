"""Tokens of several levels: the first enters the sequence, the others decoder layers, as in Qwen3-VL."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from foveal.connectors import MlpProjector, Parallel, PixelShuffle
from foveal.core import Grid, Size
from foveal.encoders import VisionTransformer
from foveal.models import (
    IMAGE_TOKEN_ID,
    AnyResMerge,
    AnyResPlan,
    CropToSquare,
    DeepStackMerge,
    DeepStackPlan,
    LevelsMerge,
    Merged,
    Turn,
    VisionLanguageModel,
    answer,
    byte_tokenizer,
    generate,
    llama,
)
from foveal.models.estimates.cost import cost
from foveal.models.language_models.injection import Stack, injected

MERGER = partial(Parallel, branches=[PixelShuffle] * 3, join="levels")


MERGE = partial(LevelsMerge, levels=3)


class Copies(MlpProjector):
    """The same tokens as with one level after another."""

    levels = 3

    def forward(self, maps, grids, mask=None):
        return torch.stack([super().forward(maps, grids, mask)] * self.levels, dim=1)


def model_of(connector=MERGER, merge=MERGE, plan=None, *, layers=(-1, 1, 2)):
    torch.manual_seed(5)
    model = VisionLanguageModel(
        VisionTransformer(16, 3, 2, 24, 7, 28, layers=layers),
        connector,
        llama(260, width=32, depth=4, heads=2, mlp_width=48, context=400),
        byte_tokenizer(),
        plan or CropToSquare(28),
        merge=merge,
        system="",
        max_length=400,
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    return model.eval()


def picture(width=60, height=40, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def asked(model, question, *pictures):
    return model.processor.encode_prompt(list(pictures), [Turn("user", question)])


@torch.no_grad()
def test_every_level_enters_its_layer():
    model = model_of()
    batch = model.processor.collate([asked(model, "<image>\nWhat?", picture()), asked(model, "Hello, who?")])
    levels = model.connector(
        [each[None] for each in model.encoder.encode_views(pixels(model, batch))[0]], [Grid(4, 4)] * 3
    )
    where = batch.input_ids == IMAGE_TOKEN_ID
    rows, columns = where.nonzero().unbind(dim=1)
    embeddings = model.language_model.get_input_embeddings()(batch.input_ids.masked_fill(where, 0))
    embeddings[where] = levels[0, 0]
    by_hand = [Stack(layer, rows, columns, levels[0, layer]) for layer in (1, 2)]
    with injected(model.language_model, by_hand, 2):
        expected = model.language_model(inputs_embeds=embeddings, attention_mask=batch.attention_mask.long()).logits
    found = model(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes)
    torch.testing.assert_close(found[batch.attention_mask], expected[batch.attention_mask], atol=1e-5, rtol=1e-5)


def pixels(model, batch):
    mean, std = (torch.tensor(each)[:, None, None] for each in (model.encoder.image_mean, model.encoder.image_std))
    return [(view / 255 - mean) / std for view in batch.views]


@torch.no_grad()
def test_copies_are_the_stacks_of_the_overview():
    """DeepStack's ablation with the repeated overview, on a picture that both plans cut alike."""
    ours = model_of(Copies, layers=(-1,))
    theirs = model_of(
        MlpProjector, partial(DeepStackMerge, stacks=2, sampling="overview"), DeepStackPlan(28, 2), layers=(-1,)
    )
    theirs.load_state_dict(ours.state_dict())
    one = picture(28, 28)
    found, expected = (
        model(sample.input_ids[None], sample.views, sizes=sample.sizes)
        for model in (ours, theirs)
        for sample in [asked(model, "<image>\nWhat?", one)]
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    plain = model_of(MlpProjector, None, layers=(-1,))
    plain.load_state_dict(ours.state_dict())
    sample = asked(plain, "<image>\nWhat?", one)
    assert (plain(sample.input_ids[None], sample.views) - found).abs().max() > 1e-3


def test_gradient_reaches_every_level():
    model = model_of().train()
    answered = [Turn("user", "<image>\nWhat?"), Turn("assistant", "Red")]
    loss = model.loss(model.processor.collate([model.processor.encode([picture()], answered)]))
    loss.total.backward()
    for number, branch in enumerate(model.connector.parts):
        assert all(weight.grad.any() for weight in branch.parameters()), number


@torch.no_grad()
def test_generation_reads_the_levels_once():
    """Cached steps equal separate forward passes, and ragged rows equal each row alone."""
    model = model_of()
    prompt = asked(model, "<image>\nWhat?", picture())
    ids = prompt.input_ids
    for _ in range(8):
        following = model(ids[None], prompt.views, sizes=prompt.sizes)[0, -1].argmax()
        ids = torch.cat([ids, following[None]])
        if int(following) in model.processor.stop_ids:
            break
    alone = model.processor.decode(ids[len(prompt.input_ids) :])
    assert answer(model, [picture()], "What?", max_new_tokens=8) == alone
    rows = [prompt, asked(model, "Hi"), asked(model, "<image> is what, please?", picture(20, 90, 3))]
    together = generate(model, model.processor.collate(rows, side="left"), max_new_tokens=8)
    assert together == [
        generate(model, model.processor.collate([row], side="left"), max_new_tokens=8)[0] for row in rows
    ]
    assert together[0] == alone


def test_cost_counts_the_levels_as_stacked():
    with torch.device("meta"):
        model = model_of()
    found = cost(model, [Size(60, 40)], text=10)
    assert (found.views, found.visual, found.stacked) == (1, 4, 8)


@pytest.mark.parametrize(
    ("connector", "merge", "message"),
    [
        (MERGER, None, "Parallel gives 3 levels of tokens and there is no merge: add one whose `levels` is 3"),
        (MERGER, AnyResMerge, "levels of tokens: Parallel gives 3, AnyResMerge takes 1; the two must agree"),
        (MERGER, partial(LevelsMerge, levels=4), "Parallel gives 3, LevelsMerge takes 4"),
        (partial(Parallel, branches=[PixelShuffle] * 3), MERGE, "Parallel gives 1, LevelsMerge takes 3"),
    ],
)
def test_levels_that_nothing_takes_are_refused(connector, merge, message):
    with pytest.raises(ValueError, match=message):
        VisionLanguageModel(
            VisionTransformer(16, 3, 2, 24, 7, 28, layers=(-1, 1, 2)),
            connector,
            llama(260, width=36, depth=4, heads=3, mlp_width=48),
            byte_tokenizer(),
            AnyResPlan(28) if merge is AnyResMerge else CropToSquare(28),
            merge=merge,
        )


def test_levels_beyond_the_last_layer_are_refused():
    with pytest.raises(ValueError, match=r"LevelsMerge adds stacks before layers \(1, 2, 3, 4\), .* has 4"):
        model_of(
            partial(Parallel, branches=[PixelShuffle] * 5, join="levels"),
            partial(LevelsMerge, levels=5),
            layers=(-1, 0, 1, 2, 3),
        )


class Careless(LevelsMerge):
    """A merge that returns more stacks than it has layers."""

    def __init__(self, width):
        super().__init__(width, levels=3)
        self.layers = (1,)


def test_a_merge_that_does_not_keep_its_promise_is_refused():
    model = model_of(merge=Careless)
    sample = asked(model, "<image>\nWhat?", picture())
    with pytest.raises(ValueError, match=r"Careless made 2 stacks of a picture, its layers are \(1,\)"):
        model(sample.input_ids[None], sample.views, sizes=sample.sizes)
    with pytest.raises(ValueError, match=r"must have one shape \[tokens, width\], not \[4, 8\] and \[\[3, 8\]\]"):
        Merged(torch.zeros(4, 8), (torch.zeros(3, 8),))
    with pytest.raises(ValueError, match=r"not \[2, 4, 8\] and \[\]"):
        Merged(torch.zeros(2, 4, 8))


def test_only_one_view_has_levels():
    with pytest.raises(ValueError, match="LevelsMerge takes one view of a picture, the plan makes 5"):
        model_of(plan=DeepStackPlan(28))
    for wrong in ({"levels": 1}, {"start_layer": -1}):
        with pytest.raises(ValueError, match=r"must be at least 2, start_layer .* at least 0"):
            LevelsMerge(8, **wrong)

"""Folders of LLaVA-OneVision: LLaVA's own layout, saved, quantised, trained, and what is refused."""

import json

import numpy as np
import pytest
import torch
from packages.models.tests.heirs.references import stating

from foveal.core import Size
from foveal.models import (
    IMAGE_TOKEN_ID,
    AnyResPlan,
    MarkedPlan,
    OneVisionMerge,
    OneVisionPlan,
    StretchToSquare,
    Turn,
    Video,
    answer,
    generate,
    load,
    save,
)
from foveal.models.views.company import Beside, LastFrame
from foveal.models.views.named import chosen_plan
from foveal.models.views.normalise import normalised

SIDE = 23
QUESTION = [Turn("user", "<image>\nWhat is it?")]


@torch.no_grad()
def test_original_layout(model, original, picture):
    """The same weights under the names of LLaVA's own code: the same logits; ties of canvases are broken otherwise."""
    opened = original()
    plan, merge = opened.processor.plan, opened.merge
    assert (type(plan), plan.tie_order, plan.fill, plan.candidates) == (
        OneVisionPlan,
        "width_first",
        (127, 127, 127),
        tuple((first, second) for first in range(1, 4) for second in range(1, 4)),
    )
    assert (type(merge), merge.max_tiles, merge.rounded, merge.frame_stride) == (OneVisionMerge, 2, False, 2)
    assert opened.processor.template == "chatml"
    for pictures in ([picture(50, 40)], [picture(50, 40), picture(30, 60)], [Video([picture(9, 8)] * 2)]):
        turns, logits = [Turn("user", "<image>" * len(pictures) + "\nWhat is it?")], []
        for each in (opened, model):
            batch = each.processor.collate([each.processor.encode_prompt(pictures, turns)])
            logits.append(each(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes))
        torch.testing.assert_close(*logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_interleave(original, reference, picture):
    """LLaVA-NeXT-Interleave in LLaVA's layout: tiles for one picture; in its evaluation one view of each, a newline."""
    canvases = [[2 * SIDE, SIDE], [SIDE, 2 * SIDE]]
    config = {"image_aspect_ratio": "anyres", "image_grid_pinpoints": canvases}
    opened = original(**config)
    plan, merge = opened.processor.plan, opened.merge
    assert (type(plan), plan.candidates, type(merge), merge.max_tiles) == (
        OneVisionPlan,
        ((2, 1), (1, 2)),
        OneVisionMerge,
        None,
    )
    opened = original("interleave_evaluation", **config)
    pictures = [picture(50, 40), picture(30, 60)]
    sample = opened.processor.encode_prompt(pictures, [Turn("user", "<image><image>\nWhat?")])
    assert len(sample.views) == 2
    batch = opened.processor.collate([sample])
    pixels = torch.stack(normalised(sample.views, opened.encoder))
    # Any reference for single views: transformers' several pictures, which are padded, but joined in the same way.
    expected = reference(
        input_ids=batch.input_ids.masked_fill(batch.input_ids == IMAGE_TOKEN_ID, 259),
        pixel_values=pixels[:, None],
        image_sizes=torch.tensor([[40, 50], [60, 30]]),
        batch_num_images=torch.tensor([2]),
    ).logits
    torch.testing.assert_close(opened(batch.input_ids, batch.views, sizes=batch.sizes), expected, atol=1e-5, rtol=0)
    for one in pictures:
        stretched = opened.processor.encode_prompt([one], QUESTION).views
        assert [view.tolist() for view in stretched] == [
            np.asarray(one.resize((SIDE, SIDE))).transpose(2, 0, 1).tolist()
        ]
    with pytest.raises(
        ValueError, match="interleave_evaluation is for LLaVA-NeXT-Interleave, but the checkpoint's is a S"
    ):
        chosen_plan("interleave_evaluation", lambda: StretchToSquare(SIDE))


@pytest.mark.parametrize("field", [{"mm_newline_position": "grid"}, {"mm_spatial_pool_mode": "average"}], ids=str)
def test_other_ways_to_read_videos(original, picture, field):
    """Pictures do not depend on them."""
    opened = original(**field)
    assert answer(opened, picture(9, 8), "What?", max_new_tokens=1) is not None
    with pytest.raises(ValueError, match="rule for the frames of a video is not known"):
        answer(opened, Video([picture(9, 8)]), "What?")


def test_padding_has_the_mean_colour_also_if_nothing_is_normalised(copied):
    settings = json.loads((copied / "processor_config.json").read_text())["image_processor"]
    settings |= {"do_normalize": False, "image_mean": [0.1, 0.2, 0.3]}
    model = load(stating(copied, "processor_config.json", image_processor=settings))
    assert (model.processor.plan.fill, model.encoder.image_mean) == ((25, 51, 76), (0, 0, 0))


@torch.no_grad()
def test_saved(model, picture, tmp_path):
    batch = model.processor.collate([model.processor.encode_prompt([picture(50, 40)], QUESTION)], side="left")
    again = load(save(model, tmp_path / "saved"))
    assert generate(again, batch, max_new_tokens=6) == generate(model, batch, max_new_tokens=6)


@torch.no_grad()
@pytest.mark.slow
def test_quantised_while_it_is_loaded(model, folder, picture, tmp_path):
    sample = model.processor.encode_prompt([picture(50, 40)], QUESTION)
    batch = model.processor.collate([sample], side="left")
    first = load(folder, quantize="nf4-dq")
    second = load(save(first, tmp_path / "quantised"))
    asked = (batch.input_ids, batch.views, batch.attention_mask, None, batch.sizes)
    assert torch.equal(first(*asked), second(*asked))
    assert not torch.equal(first(*asked), model(*asked))
    assert generate(first, batch, max_new_tokens=4) == generate(second, batch, max_new_tokens=4)


def test_one_step_reaches_every_part(folder, picture):
    trained = load(folder).train()
    turns = [*QUESTION, Turn("assistant", "A cat.")]
    samples = [
        trained.processor.encode([picture(50, 40)], turns),
        trained.processor.encode([Video([picture(9, 8)] * 2)], turns),
    ]
    loss = trained.loss(trained.processor.collate(samples))
    loss.total.backward()
    assert all(
        parameter.grad.abs().sum() > 0 for name, parameter in trained.named_parameters() if "k_proj.bias" not in name
    )
    before = [parameter.clone() for parameter in trained.parameters()]
    torch.optim.SGD(trained.parameters(), lr=0.1).step()
    assert not all(torch.equal(*pair) for pair in zip(before, trained.parameters(), strict=True))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("vision_aspect_ratio", "anyres", "vision_aspect_ratio is 'anyres', expected anyres_max_N"),
        ("vision_feature_select_strategy", "default", "leaves out the first patch of a SigLIP"),
        ("projector_hidden_act", "relu", "projector_hidden_act is 'relu'"),
        ("image_token_index", 9, "image_token_index is 9 in config.json, but 259 is the tokenizer.s id of <image>"),
    ],
)
def test_settings_that_are_refused(copied, field, value, message):
    stating(copied, **{field: value})
    with pytest.raises(ValueError, match=message):
        load(copied)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("do_resize", False, "do_resize is False"),
        ("size", {"height": 46, "width": 46}, "size is .*the tower takes views of 23 pixels"),
        ("image_grid_pinpoints", [[46, 46]], "image_grid_pinpoints is"),
    ],
)
def test_settings_of_pictures_that_are_refused(copied, field, value, message):
    described = json.loads((copied / "processor_config.json").read_text())["image_processor"]
    stating(copied, "processor_config.json", image_processor=described | {field: value})
    with pytest.raises(ValueError, match=message):
        load(copied)


def test_other_plans_refuse_videos(model, picture):
    videos = [Video([picture(9, 8)])]
    processor = model.processor
    with pytest.raises(ValueError, match="page: 2 <image> in the text, 1 pictures and videos"):
        processor.encode_prompt([Video([picture(9, 8)] * 2)], [Turn("user", "<image><image>")], key="page")
    processor = type(processor)(
        processor.tokenizer, AnyResPlan(processor.plan.size), count=processor.count, template="chatml"
    )
    with pytest.raises(ValueError, match="page: AnyResPlan does not cut the frames of a video"):
        processor.encode_prompt(videos, QUESTION, key="page")
    with pytest.raises(ValueError, match="at least one frame"):
        Video([])
    marked = MarkedPlan(OneVisionPlan(SIDE))
    assert all(isinstance(size, Beside) for size in marked.in_company([Size(3, 4), Size(5, 6)]))
    with pytest.raises(ValueError, match="MarkedPlan does not cut the frames of a video"):
        marked.in_company([LastFrame(3, 4)])

"""A whole video as one set of views: which frames are seen, what they become, and what is refused."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from foveal.connectors import SpaceTimePool
from foveal.core import Grid, Size
from foveal.encoders import FrameEncoder, VisionTransformer
from foveal.models import (
    IMAGE_TOKEN_ID,
    AnyResPlan,
    CropToSquare,
    DeepStackPlan,
    MarkedPlan,
    PadToSquare,
    SeenPictures,
    Turn,
    VaryPlan,
    Video,
    VideoPlan,
    VisionLanguageModel,
    answer,
    answer_batch,
    byte_tokenizer,
    explain,
    generate,
    llama,
    load,
    save,
)
from foveal.models.views.cut_views import views_of
from foveal.models.views.draft import Draft
from foveal.models.views.normalise import normalised

FRAMES, SIDE = 4, 16
QUESTION = [Turn("user", "<image>\nWhat happens?")]


def picture(seed, width=30, height=20):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def video(first, frames=FRAMES, **size):
    return Video([picture(first + number, **size) for number in range(frames)])


def model_of(plan=None):
    torch.manual_seed(5)
    marks = ["<im_start>", "<im_end>"]
    model = VisionLanguageModel(
        FrameEncoder(VisionTransformer(16, 2, 2, 24, 4, SIDE), frames=FRAMES),
        partial(SpaceTimePool, slots=2, rows=2, columns=3),
        llama(260 + len(marks), width=32, depth=2, heads=2, mlp_width=48, context=300),
        byte_tokenizer(marks),
        plan or VideoPlan(CropToSquare(SIDE), frames=FRAMES),
        system="",
        max_length=200,
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return model_of()


@torch.no_grad()
def test_a_video_is_its_frames_one_by_one_in_the_connector(model):
    shown = video(1)
    sample = model.processor.encode_prompt([shown], QUESTION)
    plan, tower = CropToSquare(SIDE), model.encoder.encoder
    maps = []
    for frame in shown.frames:
        views = normalised(views_of(plan, frame, Size.of(frame.size)), tower)
        maps.append(tower(views[0][None])[0])
    expected = model.connector(maps, [Grid(4, 4)] * FRAMES)[0]
    (found,) = model.merged(sample.views, sample.sizes)
    torch.testing.assert_close(found.tokens, expected, atol=1e-6, rtol=0)
    assert not torch.allclose(found.tokens[:6], found.tokens[6:], atol=1e-3)  # time is not lost


@torch.no_grad()
def test_all_frames_of_all_videos_are_one_call(model):
    samples = [model.processor.encode_prompt([video(number)], QUESTION) for number in (1, 7)]
    calls = []
    handle = model.encoder.encoder.register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
    model.merged([view for sample in samples for view in sample.views], [])
    handle.remove()
    assert calls == [2 * FRAMES]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12))
def test_frames_are_at_even_distances_and_none_is_left_out_before_one_is_repeated(given, frames):
    shown = [Image.new("RGB", (2, 2), (number, 0, 0)) for number in range(given)]
    cut = VideoPlan(CropToSquare(2), frames=frames).cut_video(shown)
    places = [view.getpixel((0, 0))[0] for view in cut]
    assert places == sorted(places)
    assert len(places) == frames
    if given <= frames:
        often = Counter(places)
        assert set(often) == set(range(given))
        assert max(often.values()) - min(often.values()) <= 1
    else:
        assert len(set(places)) == frames
        # Each is in its own part of the video, at most half a frame away from the middle of it.
        middles = [(number + 0.5) * given / frames - 0.5 for number in range(frames)]
        assert all(abs(place - middle) <= 0.5 for place, middle in zip(places, middles, strict=True))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(20, 60), st.integers(20, 60))
def test_a_video_has_one_mark_and_the_tokens_of_its_connector(model, frames, width, height):
    sample = model.processor.encode_prompt([video(1, frames, width=width, height=height)], QUESTION)
    assert len(sample.views) == FRAMES
    assert sample.sizes == (Size(width, height),)
    assert int((sample.input_ids == IMAGE_TOKEN_ID).sum()) == model.connector.num_tokens() == 12
    assert len(sample.input_ids) == model.processor.length([Size(width, height)], QUESTION, open_ended=True)


def test_a_still_picture_is_a_video_that_stands_still(model):
    still = model.processor.encode_prompt([picture(1)], QUESTION)
    stands = model.processor.encode_prompt([Video([picture(1)])], QUESTION)
    assert still.input_ids.equal(stands.input_ids)
    assert all(a.equal(b) for a, b in zip(still.views, stands.views, strict=True))
    assert answer(model, picture(1), "What?", max_new_tokens=6) == answer(
        model, Video([picture(1)] * 9), "What?", max_new_tokens=6
    )


def test_videos_beside_pictures_and_in_any_batch(model):
    asked = [
        ([video(1)], "What?"),
        ([picture(3), video(9, 7)], "<image>\n<image>\nBoth?"),
        ([], "Hello?"),
        ([video(20, 2), picture(5)], "<image> and <image>"),
    ]
    alone = [answer(model, pictures, text, max_new_tokens=6) for pictures, text in asked]
    assert len(set(alone)) > 2
    assert answer_batch(model, asked, batch_size=4, max_new_tokens=6) == alone
    assert answer_batch(model, asked, batch_size=3, max_new_tokens=6) == alone


def test_a_video_that_was_encoded_is_kept(model):
    prompts = [
        model.processor.encode_prompt([video(number)], [Turn("user", f"<image>{text}")])
        for number, text in ((1, "What?"), (1, "And?"), (9, "What?"), (1, "So?"))
    ]
    batches = [model.processor.collate([prompt], side="left") for prompt in prompts]
    plain = [generate(model, batch, max_new_tokens=5) for batch in batches]
    seen = SeenPictures(model)
    assert [generate(model, batch, max_new_tokens=5, seen=seen) for batch in batches] == plain
    assert (seen.encoded, seen.reused) == (2, 2)
    like = model.processor.encode_prompt([video(1)], QUESTION, like=prompts[0])
    assert like.views is prompts[0].views


def test_a_saved_model_opens_again(model, tmp_path):
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again.processor.plan, VideoPlan)
    assert (again.processor.plan.frames, again.processor.plan.plan.size, again.encoder.frames) == (FRAMES, SIDE, FRAMES)
    assert answer(again, video(1, 6), "What?", max_new_tokens=6) == answer(
        model, video(1, 6), "What?", max_new_tokens=6
    )


def test_marks_around_a_video():
    marked = model_of(MarkedPlan(VideoPlan(PadToSquare(SIDE), frames=FRAMES)))
    start, end = marked.processor.tokenizer.convert_tokens_to_ids(["<im_start>", "<im_end>"])
    ids = marked.processor.encode_prompt([video(1, 7)], QUESTION).input_ids.tolist()
    assert (ids.count(start), ids.count(end), ids.count(IMAGE_TOKEN_ID)) == (1, 1, 12)
    assert ids.index(end) - ids.index(start) == 13


def test_where_a_model_looked(model):
    """One map for a video, of all its frames together."""
    for shown in (picture(1), video(1)):
        explained = explain(model, shown, "What?", "It is", each=None)
        (found,) = explained.over_answer
        assert (found.shape, explained.by_rules) == ((20, 30), True)
        assert found.sum() > 0


def test_drafts_of_frames():
    plan = VideoPlan(CropToSquare(SIDE, draft=True), frames=2)
    assert plan.draft
    frame = picture(1, 40, 40)
    half = Draft(frame.resize((20, 20)), Size(40, 40))
    whole, reduced = plan.cut_video([frame, half])
    assert (whole.size, reduced.size) == ((SIDE, SIDE), (SIDE, SIDE))
    assert plan.sharpest(Size(40, 40)) == Size(SIDE, SIDE)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (lambda: VideoPlan(CropToSquare(16), frames=0), "frames is 0"),
        (lambda: VideoPlan(DeepStackPlan(16, square=True, together=True)), "DeepStackPlan gives sets"),
        (lambda: VideoPlan(VideoPlan(CropToSquare(16), frames=1)), "VideoPlan gives sets"),
        (lambda: VideoPlan(AnyResPlan(16)).views(Size(30, 20)), "AnyResPlan cuts a frame of 30x20 into several views"),
        (lambda: VideoPlan(VaryPlan(16)).views(Size(30, 20)), "VaryPlan cuts .* or puts texts around it"),
    ],
)
def test_plans_that_are_not_for_frames(plan, message):
    with pytest.raises(ValueError, match=message):
        plan()


def test_parts_and_videos_that_do_not_fit(model):
    mixed = Video([picture(1), picture(2, 40, 40)])
    with pytest.raises(ValueError, match="clip 3: the frames of a video have sizes 30x20, 40x40: they must have one"):
        model.processor.encode_prompt([mixed], QUESTION, key="clip 3")
    with pytest.raises(ValueError, match="clip 3: 2 <image> in the text, 1 pictures: there must be one for each"):
        model.processor.encode_prompt([video(1)], [Turn("user", "<image><image>")], key="clip 3")
    with pytest.raises(ValueError, match="FrameEncoder looks at 4 views together, VideoPlan makes sets of 5"):
        model_of(VideoPlan(CropToSquare(SIDE), frames=5))
    with pytest.raises(ValueError, match="frames of a video must have one size, but have 16x16, 16x20"):
        model.visual_tokens([torch.zeros(3, *size) for size in ((16, 16), (16, 16), (20, 16), (16, 16))])

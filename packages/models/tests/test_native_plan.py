"""Views in a picture's own resolution: sizes as in the reference, texts around the tokens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.core import Size
from foveal.models import NativePlan


@settings(max_examples=60, deadline=None)
@given(
    picture=st.builds(Size, st.integers(1, 3000), st.integers(1, 3000)),
    cell=st.sampled_from((8, 28, 32)),
    fewest=st.integers(1, 40),
    more=st.integers(0, 3000),
)
def test_sizes_are_those_of_the_reference(picture, cell, fewest, more):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    limits = fewest * cell * cell, (fewest + more) * cell * cell
    plan = NativePlan(cell, *limits)
    if max(picture) > 200 * min(picture):
        with pytest.raises(ValueError, match="is more than 200 times as long as it is wide"):
            plan.views(picture)
        return
    height, width = smart_resize(picture.height, picture.width, cell, *limits)
    assert plan.views(picture) == (Size(width, height),)


def test_texts_around_the_tokens():
    picture = Size(40, 30)
    assert NativePlan().layout(picture) == ("<|vision_start|>", 0, "<|vision_end|>")
    assert NativePlan(start="", end="").layout(picture) == (0,)


def test_a_view_of_the_right_size_is_the_picture():
    picture = Image.linear_gradient("L").convert("RGB").resize((64, 96))
    (view,) = NativePlan(32, 1, 10_000).cut(picture)
    assert view.tobytes() == picture.tobytes()


@pytest.mark.parametrize("limits", [(0, 1, 2), (32, 0, 2), (32, 3, 2), (32, 1, 300_000_000)])
def test_settings_out_of_range_are_refused(limits):
    with pytest.raises(ValueError, match=r"min_pixels .* at least 1 and at most max_pixels"):
        NativePlan(*limits)

"""MiniCPM-V's views and marks beside transformers' image processor."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.core import Size
from foveal.models import MiniCpmPlan, Processor, Turn, byte_tokenizer
from foveal.models.views.minicpm import MARKS

SIZES = st.builds(Size, st.integers(1, 3000), st.integers(1, 3000)).filter(lambda size: max(size) < 200 * min(size))


@settings(max_examples=150, deadline=None)
@given(SIZES, st.integers(1, 40), st.sampled_from([("16x", 56), ("4x", 28)]))
def test_views_are_those_of_the_reference(size, most, mode):
    from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil

    name, cell = mode
    theirs, plan, turned = MiniCPMV4_6ImageProcessorPil(), MiniCpmPlan(cell=cell, max_slices=most), size[::-1]
    grid = theirs.get_sliced_grid(turned, most, 448)
    assert plan.grid(size) == (None if grid is None else tuple(grid))
    overview = theirs.find_best_resize(turned, 448, 14, name, allow_upscale=grid is None)
    expected = [overview[::-1]]
    if grid is not None:
        down, across = theirs.get_refine_size(turned, grid, 448, 14, name, allow_upscale=True)
        expected += [(across // grid[1], down // grid[0])] * math.prod(grid)
    assert list(plan.views(size)) == expected


def test_pictures_are_numbered_by_their_place_in_the_conversation():
    processor = Processor(byte_tokenizer(MARKS), MiniCpmPlan(), count=lambda size: [2])
    assert processor.tokenizer.decode(processor.ids_before(10)) == "<image_id>10</image_id>"
    assert Processor(processor.tokenizer, MiniCpmPlan(image_ids=False), count=lambda size: [2]).ids_before(3) == []
    once = processor.length([Size(9, 9)], [Turn("user", "<image>")], open_ended=True)
    assert processor.length([Size(9, 9)] * 2, [Turn("user", "<image><image>")], open_ended=True) == once + 5


def test_a_tokenizer_without_marks_is_refused():
    with pytest.raises(ValueError, match="no token that is just '<image_id>'"):
        Processor(byte_tokenizer(), MiniCpmPlan(), count=lambda size: [2]).ids_before(0)
    with pytest.raises(ValueError, match="scale 40 must be at least the cell 56"):
        MiniCpmPlan(40)

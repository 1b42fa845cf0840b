"""The part of a picture around a box."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foveal.core import Box
from recipes.reading.crop import MARGIN, around

PAGE = Image.new("RGB", (100, 60))


@pytest.mark.parametrize(
    ("box", "size"),
    [
        (Box(40, 20, 60, 30), (20 + 2 * 15, 10 + 2 * 15)),
        (Box(40.5, 20, 60, 30), (20 + 2 * 15, 10 + 2 * 15)),
        (Box(0, 0, 20, 10), (20 + 15, 10 + 15)),
        (Box(80, 50, 100, 60), (20 + 15, 10 + 15)),
        (Box(0, 0, 100, 60), (100, 60)),
        (Box(99.999, 59.999, 100, 60), (1, 1)),
    ],
)
def test_the_crop_has_whole_pixels(box, size):
    assert around(box, PAGE).size == size


SIDES = st.floats(0, 0.99), st.floats(1e-6, 1)


@given(*SIDES, *SIDES)
def test_the_crop_is_no_larger_than_it_must_be(left, width, top, height):
    box = Box(100 * left, 60 * top, min(100 * (left + width), 100), min(60 * (top + height), 60))
    crop = around(box, PAGE)
    assert min(box.width, 1) <= crop.width < box.width + 2 * MARGIN * box.height + 2
    assert min(box.height, 1) <= crop.height < box.height * (1 + 2 * MARGIN) + 2

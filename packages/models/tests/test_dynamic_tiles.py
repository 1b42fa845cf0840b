"""Tiles of the canvas of the nearest shape: the canvases of transformers' GOT-OCR 2.0, and the order in prompts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from foveal.core import Grid, Size, build, describe
from foveal.models import IMAGE_TOKEN_ID, DynamicTilesPlan
from foveal.models.prompts.tokenize import expanded

SIZES = st.builds(Size, st.integers(1, 3000), st.integers(1, 3000)) | st.integers(1, 3000).map(lambda n: Size(n, n))


@settings(max_examples=300, deadline=None)
@given(size=SIZES, side=st.sampled_from([14, 100, 448, 1024]), most=st.integers(1, 14), data=st.data())
def test_canvases_are_theirs(size, side, most, data):
    fewest = data.draw(st.integers(1, most))
    columns, rows = get_optimal_tiled_canvas((size.height, size.width), (side, side), fewest, most)
    plan = DynamicTilesPlan(side, most, fewest)
    assert plan.tiles(size) == Grid(rows, columns)
    assert len(plan.views(size)) == rows * columns + (rows * columns > 1)


def test_of_two_canvases_that_are_as_near_the_larger_needs_a_large_picture():
    plan = DynamicTilesPlan(10, 4)
    assert plan.tiles(Size(14, 14)) == Grid(1, 1)
    assert plan.tiles(Size(15, 15)) == Grid(2, 2)


def test_views_and_their_order():
    plan = DynamicTilesPlan(14, 6, start="<img>", end="</img>")
    assert plan.layout(Size(40, 20)) == ("<img>", 0, 1, 2, "</img>")
    assert plan.layout(Size(20, 20)) == ("<img>", *range(5), "</img>")
    assert DynamicTilesPlan(14, 1).layout(Size(900, 20)) == (0,)
    tiles = Image.new("RGB", (28, 14), "red")
    tiles.paste("blue", (14, 0, 28, 14))
    left, right, thumbnail = plan.cut(tiles)
    assert (left.getpixel((3, 7)), right.getpixel((10, 7))) == ((255, 0, 0), (0, 0, 255))
    assert thumbnail.getpixel((1, 7))[0] > 200
    assert thumbnail.getpixel((12, 7))[2] > 200
    assert describe(build(describe(plan), allow=("foveal",))) == describe(plan)


def test_pictures_that_follow_each_other_directly():
    picture, ids = [7, IMAGE_TOKEN_ID, IMAGE_TOKEN_ID, 8], [1, IMAGE_TOKEN_ID, IMAGE_TOKEN_ID, 2, IMAGE_TOKEN_ID]
    together, labels = expanded(ids, list(range(5)), [picture] * 3, together=True)
    assert together == [1, 7, *[IMAGE_TOKEN_ID] * 4, 8, 2, *picture]
    assert labels == [0, 1, 1, 1, 2, 2, 2, 3, *[4] * 4]
    assert expanded(ids, ids, [picture] * 3)[0] == [1, *picture, *picture, 2, *picture]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((14, 0), "min_tiles must be from 1 to max_tiles 0, not 1"),
        ((14, 4, 5), "min_tiles must be from 1 to max_tiles 4, not 5"),
        ((0, 4), "at least 1 pixel"),
        ((4480, 12), "12 tiles of 4480x4480 pixels are more than"),
    ],
)
def test_numbers_that_allow_no_canvas(options, message):
    with pytest.raises(ValueError, match=message):
        DynamicTilesPlan(*options)

"""Every plan on pictures that are not square: sides are not swapped, in the sizes and in the order of the views."""

import inspect

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import foveal.models
from foveal.core import Grid, Size
from foveal.models import (
    AnyResPlan,
    CropToSquare,
    DeepSeekOcr2Plan,
    DeepStackHdPlan,
    DeepStackPlan,
    DynamicTilesPlan,
    MarkedPlan,
    MiniCpmPlan,
    NativePlan,
    OneVisionPlan,
    PadToSquare,
    StretchToSquare,
    UhdPlan,
    UhdV3Plan,
    VaryPlan,
    VideoPlan,
    ViewPlan,
)

PLANS = {
    "anyres": AnyResPlan(14),
    "anyres_height_first": AnyResPlan(14, [(1, 4), (2, 3), (4, 1)], "height_first"),
    "onevision": OneVisionPlan(14),
    "deepstack": DeepStackPlan(14),
    "deepstack_aspect": DeepStackPlan(14, 6, keep_aspect=True),
    "deepstack_hd": DeepStackHdPlan(14, 6),
    "deepseek_ocr2": DeepSeekOcr2Plan(40, 14, 8, 2, fill=(0, 0, 0)),
    "dynamic_tiles": DynamicTilesPlan(14, 8, 2),
    "uhd": UhdPlan(28, 7),
    "uhd_first": UhdPlan(28, 7, overview="first", long_side=150),
    "minicpm": MiniCpmPlan(28, 7),
    "pad": PadToSquare(28),
    "crop": CropToSquare(28),
    "stretch": StretchToSquare(28),
    "native": NativePlan(7, 28 * 28, 56 * 56),
    "uhd_v3": UhdV3Plan(14, 60, smallest=20, longest=100),
    "vary": VaryPlan(28, 14),
    "marked": MarkedPlan(AnyResPlan(14)),
    "video": VideoPlan(CropToSquare(28), frames=3),
}
TILES_FIRST = DynamicTilesPlan, DeepSeekOcr2Plan
TILED = [
    *(name for name in PLANS if name.startswith(("anyres", "deepstack", "deepseek"))),
    *("dynamic_tiles", "marked", "minicpm", "onevision", "uhd", "uhd_first"),
]
OBLONG = st.builds(Size, st.integers(20, 200), st.integers(20, 200)).filter(
    lambda size: max(size) > 1.5 * min(size) and min(size) > 10
)


def graded(size):
    """Red grows from left to right, green from top to bottom; blue is everywhere, so that padding can be recognised."""
    red = np.linspace(0, 255, size.width)[None].repeat(size.height, 0)
    green = np.linspace(0, 255, size.height)[:, None].repeat(size.width, 1)
    return Image.fromarray(np.stack((red, green, np.full_like(red, 255)), axis=-1).astype(np.uint8))


def tiles_of(plan, size):
    """Rows and columns of the tiles; None: there are none."""
    if isinstance(plan, UhdPlan):
        return plan.grid(plan._resized(size))
    if isinstance(plan, MiniCpmPlan):
        return plan.grid(size)
    return plan.tiles(size) if isinstance(plan, TILES_FIRST) else plan.tile_grid(size)


def place(view):
    """How far right and how far down in the picture a view's content is; None: only padding."""
    values = np.asarray(view).astype(float)
    shown = values[values[..., 2] > 250]
    return shown.mean(axis=0)[:2] if len(shown) else None


def test_every_plan_is_here():
    public = {getattr(foveal.models, name) for name in foveal.models.__all__}
    plans = {kind for kind in public if inspect.isclass(kind) and issubclass(kind, ViewPlan)} - {ViewPlan}
    assert {type(plan) for plan in PLANS.values()} == plans


@pytest.mark.parametrize("name", PLANS)
@settings(max_examples=15, deadline=None)
@given(size=OBLONG)
def test_views_have_the_promised_widths_and_heights(name, size):
    promised, cut = PLANS[name].views(size), PLANS[name].cut(Image.new("RGB", size))
    assert [(view.width, view.height) for view in promised] == [view.size for view in cut]
    assert all(type(view) is Size for view in promised)


@settings(max_examples=15, deadline=None)
@given(size=OBLONG)
def test_an_overview_is_oblong_the_way_the_picture_is(size):
    overview = UhdPlan(56, 7, overview_only=True).views(size)[0]
    assert (overview.width > overview.height) == (size.width > size.height)


@pytest.mark.parametrize("name", sorted(set(TILED) - {"anyres_height_first"}))  # whose canvases are mostly wide
@settings(max_examples=40, deadline=None)
@given(size=OBLONG)
def test_a_wide_picture_has_more_columns_than_rows(name, size):
    tiles = tiles_of(PLANS[name], size)
    assume(tiles is not None)
    assert tiles.columns >= tiles.rows if size.width > size.height else tiles.rows >= tiles.columns
    if max(size) > 3 * min(size):
        assert tiles.columns != tiles.rows


@settings(max_examples=40, deadline=None)
@given(size=OBLONG)
def test_a_list_of_canvases_is_read_rows_first_or_columns_first(size):
    """There is a single canvas to choose: three wide and two high, or the other way round."""
    assert AnyResPlan(14, [(3, 2)]).tile_grid(size) == Grid(rows=2, columns=3)
    assert AnyResPlan(14, [(3, 2)], "height_first").tile_grid(size) == Grid(rows=3, columns=2)


@pytest.mark.parametrize("name", TILED)
@settings(max_examples=25, deadline=None)
@given(size=OBLONG)
def test_tiles_lie_row_by_row_on_their_grid(name, size):
    plan = PLANS[name]
    views, tiles = plan.cut(graded(size)), tiles_of(plan, size)
    assume(tiles is not None)
    first = 0 if isinstance(plan, TILES_FIRST) or getattr(plan, "overview", None) == "last" else 1
    shown = views[first : first + tiles.cells]
    places = [place(view) for view in shown]
    for number, (right, down) in ((number, where) for number, where in enumerate(places) if where is not None):
        row, column = divmod(number, tiles.columns)
        across, below = places[number - 1], places[number - tiles.columns]
        if column and across is not None:
            assert right > across[0] + 1
            assert abs(down - across[1]) < 1
        if row and below is not None:
            assert down > below[1] + 1
            assert abs(right - below[0]) < 1


@pytest.mark.parametrize("name", PLANS)
@settings(max_examples=15, deadline=None)
@given(size=OBLONG)
def test_regions_say_what_a_view_shows(name, size):
    """At every pixel of a view, the colour is the picture's at the place that the view's box gives."""
    plan = PLANS[name]
    views, boxes = plan.cut(graded(size)), plan.regions(size)
    assert len(views) == len(boxes)
    for view, box in zip(views, boxes, strict=True):
        values = np.asarray(view).astype(float)
        for axis, (length, shown, begin, extent) in enumerate(
            ((size.width, view.width, box.left, box.width), (size.height, view.height, box.top, box.height))
        ):
            places = begin + (np.arange(shown) + 0.5) * extent / shown
            expected = (places - 0.5) * 255 / (length - 1)
            scale = max(extent / shown, 1.0)
            inside = (places > 2 * scale + 1) & (places < length - 2 * scale - 1)
            inside = inside[None, :] if axis == 0 else inside[:, None]
            inside = inside & (values[..., 2] > 250)
            expected = expected[None, :] if axis == 0 else expected[:, None]
            off = np.abs(values[..., axis] - expected)[inside]
            assert not off.size or off.max() <= 2 + 255 / length * scale


@pytest.mark.parametrize("name", PLANS)
@settings(max_examples=15, deadline=None)
@given(size=OBLONG)
def test_padding_is_what_a_region_has_beyond_the_picture(name, size):
    plan = PLANS[name]
    for view, box in zip(plan.cut(Image.new("RGB", size, "white")), plan.regions(size), strict=True):
        shown = max(min(box.right, size.width) - max(box.left, 0), 0) * max(
            min(box.bottom, size.height) - max(box.top, 0), 0
        )
        white = (np.asarray(view).min(axis=-1) > 128).mean()
        # Both edges of the picture may fall between two pixels.
        assert abs(white - shown / (box.width * box.height)) <= 2 / min(view.size)

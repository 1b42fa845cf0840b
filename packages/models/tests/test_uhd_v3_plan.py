"""LLaVA-UHD v3's plan: sizes by hand, and what holds for any picture."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.core import Size
from foveal.models import UhdV3Plan

SIDES = st.integers(1, 6000)


@pytest.mark.parametrize(
    ("picture", "view"),
    [
        ((640, 480), (880, 640)),  # 896 x 672
        ((1500, 1500), (1560, 1560)),  # enlarged to 2100, limited to 1560
        ((1560, 1560), (1560, 1560)),
        ((1000, 3000), (880, 2680)),  # height 1560 x sqrt(3) = 2701, width 900
        ((100, 100), (480, 480)),  # 140 x 140, then 512 x 512
        ((300, 2), (5120, 40)),  # 6270 x 41, limited to 5120 x 33, then one step
        ((2, 300), (40, 5120)),
        ((1, 1), (480, 480)),
        ((20000, 30), (5120, 40)),
    ],
)
def test_sizes_by_hand(picture, view):
    plan = UhdV3Plan()
    assert plan.views(Size(*picture)) == (Size(*view),)
    assert [cut.size for cut in plan.cut(Image.new("RGB", picture))] == [view]


def test_other_numbers():
    assert UhdV3Plan(80).views(Size(640, 480)) == (Size(880, 640),)
    assert UhdV3Plan(40, enlarge=1.0).views(Size(640, 480)) == (Size(640, 480),)
    assert UhdV3Plan(40, 4080, enlarge=2.5).views(Size(640, 480)) == (Size(1600, 1200),)


@settings(max_examples=200, deadline=None)
@given(width=SIDES, height=SIDES, multiple=st.sampled_from([1, 14, 28, 40, 80]))
def test_sides_are_bounded_whole_steps(width, height, multiple):
    (view,) = UhdV3Plan(multiple).views(Size(width, height))
    assert view.width % multiple == view.height % multiple == 0
    assert multiple <= min(view)
    assert max(view) <= 5120
    assert view.area <= max(1560**2, 5120 * multiple)


@settings(max_examples=200, deadline=None)
@given(width=st.integers(30, 3000), height=st.integers(30, 3000))
def test_the_aspect_ratio_is_kept_to_within_a_step(width, height):
    (view,) = UhdV3Plan(40).views(Size(width, height))
    slack = 41  # one step, and truncation to whole pixels
    assert view.width * height < (view.height + slack) * width + slack * height
    assert view.height * width < (view.width + slack) * height + slack * width
    if max(width, height) < 8 * min(width, height):
        assert view.area >= 512**2 - slack * sum(view)


@settings(max_examples=100, deadline=None)
@given(width=SIDES, height=SIDES)
def test_a_turned_picture_has_a_turned_view(width, height):
    """Up to one step: the reference truncates the height first, which shows more in very long pictures."""
    assume(max(width, height) < 40 * min(width, height))
    (view,), (turned,) = (UhdV3Plan(40).views(Size(*sides)) for sides in ((width, height), (height, width)))
    assert abs(view.width - turned.height) <= 40
    assert abs(view.height - turned.width) <= 40


@pytest.mark.parametrize(
    "options", [{"multiple": 0}, {"multiple": 600}, {"resolution": 500}, {"longest": 1000}, {"enlarge": 0.0}]
)
def test_sizes_that_do_not_ascend_are_refused(options):
    with pytest.raises(ValueError, match="sizes must ascend from 1"):
        UhdV3Plan(**options)


def test_a_picture_without_area_is_refused():
    with pytest.raises(ValueError, match="has no area"):
        UhdV3Plan().views(Size(0, 5))

"""Pages of the acuity chart: heights, places, seams, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.core import Box, Size
from foveal.models import PadToSquare, UhdPlan
from recipes.acuity_chart.glyphs import FONTS, line_of
from recipes.acuity_chart.pages import MARGIN, ChartSettings, draw_chart_page
from recipes.acuity_chart.seams import Seam, joined, seams_of

DIGITS, FLAT = "0123456789", "EFHILTZ"


def chart(alphabet=DIGITS, characters=3, sizes=((120, 90),), fonts=FONTS, contrasts=(1.0,)):
    return ChartSettings(alphabet, characters, tuple(map(Size.of, sizes)), fonts, contrasts)


def darkness(image):
    return 255.0 - np.asarray(image.convert("L"), float)


def ink_height(image):
    """In pixels: rows of ink, of which those at the top and the bottom count by how dark they are."""
    darkest = darkness(image).max(1)
    first, *between, last = darkest[darkest > 0] / darkest.max()
    return first + len(between) + last


@settings(max_examples=30, deadline=None)
@given(
    height=st.floats(6, 30),
    seed=st.integers(0, 1000),
    index=st.integers(0, 30),
    alphabet=st.sampled_from([DIGITS, FLAT]),
    contrasts=st.sampled_from([(1.0,), (0.3,)]),
)
def test_ink_has_the_height_and_is_inside(height, seed, index, alphabet, contrasts):
    made = chart(alphabet, contrasts=contrasts)
    image, page = draw_chart_page(made, height, seed, index)
    # Round digits are a little higher than flat ones, as always in print.
    assert abs(ink_height(image) - height) < (0.5 if alphabet == FLAT else 0.5 + 0.03 * height)
    rows, columns = np.nonzero(darkness(image))
    assert min(rows.min(), columns.min()) >= MARGIN
    assert rows.max() < image.height - MARGIN
    assert columns.max() < image.width - MARGIN
    assert len(page.text) == len(page.boxes) == 3
    assert set(page.text) <= set(alphabet)
    again, same = draw_chart_page(made, height, seed, index)
    assert (again.tobytes(), same) == (image.tobytes(), page)


@pytest.mark.parametrize("font", FONTS)
def test_boxes_hold_the_ink_of_their_characters(font):
    image, page = draw_chart_page(chart(fonts=(font,), contrasts=(0.6,)), 12, 0, 0)
    dark = darkness(image)
    assert dark.max() == pytest.approx(0.6 * 255, abs=1)
    inside = np.zeros_like(dark, bool)
    for box in page.boxes:
        part = np.s_[int(box.top) : int(-(-box.bottom // 1)), int(box.left) : int(-(-box.right // 1))]
        assert dark[part].max() > 0.4 * 255
        inside[part] = True
    assert not dark[~inside].any()
    assert [box.left for box in page.boxes] == sorted(box.left for box in page.boxes)


def test_sizes_fonts_and_contrasts_take_turns():
    made = chart(sizes=((120, 60), (60, 120)), fonts=("aileron", "dejavu-mono"), contrasts=(1.0, 0.5))
    pages = [draw_chart_page(made, 8, 0, index)[1] for index in range(16)]
    kinds = [(page.size, page.font, page.contrast) for page in pages]
    assert len(set(kinds[:8])) == 8
    assert kinds[8:] == kinds[:8]
    assert len({page.text for page in pages}) > 12
    assert len({page.boxes for page in pages}) == 16


def test_a_character_lies_across_a_seam_on_every_third_page():
    size = Size(96, 32)
    seams = {size: seams_of(UhdPlan(32, 8, max_slices=6), size)}
    assert seams[size] == (Seam(True, 32.0, 0.0, 32.0), Seam(True, 64.0, 0.0, 32.0))
    pages = [draw_chart_page(chart(sizes=(size,)), 8, 0, index, seams)[1] for index in range(60)]
    cut = [any(seam.cuts(box) for box in page.boxes for seam in seams[size]) for page in pages]
    assert all(cut[2::3])
    assert not all(cut)
    middles = {round((box.left + box.right) / 2) for page in pages[2::3] for box in page.boxes}
    assert {32, 64} <= middles


def test_seams_of_plans():
    assert seams_of(PadToSquare(64), Size(200, 100)) == ()
    across, down = seams_of(UhdPlan(32, 8, max_slices=6), Size(64, 32)), seams_of(UhdPlan(32, 8), Size(32, 64))
    assert [(seam.upright, seam.at) for seam in (*across, *down)] == [(True, 32.0), (False, 32.0)]
    assert joined([across, (), across, down]) == (*down, *across)
    seam = Seam(True, 10, 0, 20)
    assert seam.cuts(Box(8, 5, 12, 9))
    assert not seam.cuts(Box(10, 5, 12, 9))
    assert not seam.cuts(Box(8, 21, 12, 29))


def test_a_view_of_padding_alone_has_no_seams():
    class Padded(PadToSquare):
        def regions(self, picture):
            return [Box(0, 0, 32, 16), Box(0, 32, 16, 64)]

    assert seams_of(Padded(32), Size(32, 16)) == ()


def test_a_line_is_as_wide_as_its_font_says():
    narrow, wide = (line_of("1111", "dejavu-sans", height, DIGITS) for height in (6, 12))
    assert wide.ink.width == pytest.approx(2 * narrow.ink.width, abs=8)
    assert wide.ink.height / 8 == pytest.approx(12, abs=0.5)


def test_refused():
    with pytest.raises(ValueError, match=r"3 characters of 30 pixels do not fit on a page of 40x40 pixels in aileron"):
        draw_chart_page(chart(sizes=((40, 40),), fonts=("aileron",)), 30, 0, 0)
    with pytest.raises(ValueError, match=r"the font aileron cannot print '字' of the alphabet"):
        draw_chart_page(chart("1字", fonts=("aileron",)), 8, 0, 0)
    for options, said in (
        ({"alphabet": "1"}, "at least two characters"),
        ({"alphabet": "1231"}, "each once"),
        ({"alphabet": "1 2"}, "no spaces"),
        ({"characters": 0}, "must be at least 1"),
        ({"sizes": ()}, "sizes: at least one"),
        ({"contrasts": (1.5,)}, "a contrast of 1.5"),
    ):
        with pytest.raises(ValueError, match=said):
            chart(**options)

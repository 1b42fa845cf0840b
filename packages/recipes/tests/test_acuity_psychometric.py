"""The psychometric function: known curves are found, and what was not reached is said."""

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.acuity_chart.psychometric import Curve, fit_pages

HEIGHTS = [12, 10, 9, 8, 7, 6, 5, 4, 3]


def read(curve, pages, seed=0, characters=3):
    """Shares of characters read on pages of each height by a reader with this curve."""
    rng = np.random.default_rng(seed)
    return [list(rng.binomial(characters, share, pages) / characters) for share in curve.at(HEIGHTS)]


@settings(max_examples=3, deadline=None)
@given(st.floats(4.5, 8), st.floats(6, 20), st.sampled_from([0.0, 0.1]), st.floats(0, 0.05), st.integers(0, 99))
def test_a_known_curve_is_found(middle, slope, chance, lapse, seed):
    curve = Curve(middle, slope, chance, lapse)
    fit = fit_pages(HEIGHTS, read(curve, 400, seed), chance=chance)
    assert fit.curve.middle == pytest.approx(middle, rel=0.05)
    np.testing.assert_allclose(fit.curve.at(HEIGHTS), curve.at(HEIGHTS), atol=0.05)
    half = fit.smallest[0.5]
    assert curve.at([half.value])[0] == pytest.approx(0.5, abs=0.06)
    assert half.low <= half.value <= half.high


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    curve = Curve(6.0, 10.0, 0.1, 0.02)
    odds = (0.5 - curve.chance) / (1 - curve.lapse - 0.5)
    truth = curve.middle * odds ** (1 / curve.slope)
    fits = [fit_pages(HEIGHTS, read(curve, 40, seed), chance=0.1, seed=seed).smallest[0.5] for seed in range(20)]
    # 19 of 20 in expectation; below 16 has a probability of less than 0.3 %.
    assert sum(each.low <= truth <= each.high for each in fits) >= 16
    assert all(each.high - each.low < 1 for each in fits)


def test_more_pages_make_a_narrower_interval_and_a_seed_the_same():
    curve = Curve(6.0, 10.0, 0.1, 0.02)
    few, many = (fit_pages(HEIGHTS, read(curve, pages), chance=0.1).smallest[0.5] for pages in (20, 400))
    assert many.high - many.low < (few.high - few.low) / 2
    pages = read(curve, 20)
    again, back = fit_pages(HEIGHTS, pages, chance=0.1), fit_pages(HEIGHTS[::-1], pages[::-1], chance=0.1)
    assert again.smallest[0.5] == few
    assert back.curve == again.curve
    assert [each.value for each in back.accuracies] == [np.mean(each) for each in pages[::-1]]


def test_characters_of_a_page_are_no_independent_trials():
    """The same accuracies from pages that are read wholly or not at all are less certain."""
    shares = Curve(6.0, 8.0, 0.1, 0.0).at(HEIGHTS)
    rng = np.random.default_rng(0)
    apart = [list(rng.binomial(4, share, 60) / 4) for share in shares]
    together = [list(rng.binomial(1, share, 60).astype(float)) for share in shares]
    first, second = (fit_pages(HEIGHTS, each, chance=0.1).smallest[0.5] for each in (apart, together))
    assert second.high - second.low > 1.3 * (first.high - first.low)


@pytest.mark.parametrize(("share", "expected"), [(1.0, -inf), (0.0, inf)])
def test_all_or_none(share, expected):
    fit = fit_pages(HEIGHTS, [[share] * 20] * len(HEIGHTS), chance=0.1)
    for each in fit.smallest.values():
        assert (each.value, each.low, each.high) == (expected,) * 3
    assert [each.value for each in fit.accuracies] == pytest.approx([share] * len(HEIGHTS))


def test_a_share_above_the_ceiling_is_not_reached():
    fit = fit_pages(HEIGHTS, read(Curve(6.0, 15.0, 0.1, 0.3), 200), chance=0.1)
    assert fit.smallest[0.9].value == inf
    assert 5.5 < fit.smallest[0.5].value < 6.7


def test_a_ceiling_that_is_the_share_itself_is_not_reached():
    assert fit_pages([6, 8], [[1.0] * 4 + [0.5], [1.0] * 4 + [0.5]], chance=0.2).smallest[0.9].value == inf


def test_refused():
    for heights, pages in (([], []), ([5], [[]]), ([5, 6], [[1.0]])):
        with pytest.raises(ValueError, match="every height needs some"):
            fit_pages(heights, pages, chance=0.1)


def test_nothing_was_tested_between_all_and_nothing():
    """The samples of a bootstrap all agree then, and would give an interval of no width."""
    fit = fit_pages([16, 8], [[1.0] * 80, [0.0] * 80], chance=0.0)
    half = fit.smallest[0.5]
    assert (half.low, half.high) == (8, 16)
    assert half.value == pytest.approx(np.sqrt(16 * 8), rel=0.02)
    above, below = fit.accuracies
    assert (above.value, above.high, below.value, below.low) == (1, 1, 0, 0)
    assert 1 - above.low == pytest.approx(below.high) == pytest.approx(0.045, abs=0.001)

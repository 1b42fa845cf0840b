"""The psychometric function: what share of characters is read at each height, and the height at which a share is read.

psi(h) = chance + (1 - chance - lapse) / (1 + (h / middle) ** -slope): a logistic function of the logarithm of the
height, with the rate of chance as lower and one minus the rate of lapses as upper asymptote (Wichmann and Hill 2001,
"The psychometric function: I. Fitting, sampling, and goodness of fit", equation 1), fitted by maximum likelihood. The
intervals are percentiles of a bootstrap (their part II).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
RESAMPLED = 1000
"""Samples of a bootstrap."""
COVERED = 0.95
"""Probability of an interval."""
BEYOND = 2.0
"""Factor by which the middle may be outside of the heights that were tested."""
# The likelihood is looked up on a grid: no start, no local maximum, and an answer when all or none were read. A step of
# the middle is about a percent, much less than any interval.
MIDDLES, SLOPES = 240, np.geomspace(1.0, 100.0, 40)
LAPSES = (0.0, 0.01, 0.03, 0.06, 0.1, 0.17, 0.28, 0.5)
"""People lapse in less than 6 % (their section 2); models may miss more characters of any height."""
TIED = 1e-6
"""Logarithms of likelihoods that differ by less are the same."""
AT_ONCE = 64
"""Samples whose likelihoods are in memory together."""


@dataclass(frozen=True)
class Curve:
    """A fitted function.

    Attributes:
        middle: the height half-way between the asymptotes, in pixels.
        slope: how steep it is there.
        chance: the lower asymptote.
        lapse: one minus the upper asymptote.
    """

    middle: float
    slope: float
    chance: float
    lapse: float

    def at(self, heights: Sequence[float] | Numbers) -> Numbers:
        """The share that is read at each height."""
        risen = 1 / (1 + (np.asarray(heights) / self.middle) ** -self.slope)
        return self.chance + (1 - self.chance - self.lapse) * risen


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; -inf and inf stand for less and more than what was tested."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """A curve, and what is read off it.

    Attributes:
        curve: the fitted one.
        accuracies: at each height the share that was read, not fitted.
        smallest: by share, the smallest height at which it is read, in pixels.
    """

    curve: Curve
    accuracies: tuple[Estimate, ...]
    smallest: dict[float, Estimate]


def fit_pages(
    heights: Sequence[float],
    pages: Sequence[Sequence[float]],
    *,
    chance: float,
    shares: Sequence[float] = (0.5, 0.9),
    seed: int = 0,
) -> Fit:
    """Fit the function to what was read, with intervals from a bootstrap over pages: characters of a page are not
    independent.

    Args:
        heights: in pixels, each one once.
        pages: for each height, the share of characters that was read on each page; all pages have equally many.
        chance: the rate at which characters are right without being seen; it is not fitted.
        shares: for which the smallest height is wanted.
        seed: of the bootstrap.

    Raises:
        ValueError: if there are no heights, or no pages at one.
    """
    if not heights or len(heights) != len(pages) or not all(pages):
        raise ValueError(f"{len(heights)} heights, and pages for {sum(map(bool, pages))}: every height needs some")
    order = np.argsort(heights)
    tested, read = np.asarray(heights, float)[order], [np.asarray(pages[place], float) for place in order]
    rng = np.random.default_rng(seed)
    drawn = [each[rng.integers(len(each), size=(RESAMPLED, len(each)))].mean(1) for each in read]
    # The first row is what was measured, the others are the bootstrap's.
    accuracies = np.vstack([[each.mean() for each in read], np.column_stack(drawn)])
    counts = np.array([len(each) for each in read], float)
    curves = _likeliest(tested, accuracies, counts, chance)
    found = {share: _estimate(np.array([_smallest(each, share, tested) for each in curves])) for share in shares}
    smallest = {share: _between_heights(estimate, tested) for share, estimate in found.items()}
    back = np.argsort(order)
    return Fit(
        curves[0], tuple(_beyond_none(_estimate(accuracies[:, place]), len(read[place])) for place in back), smallest
    )


def _likeliest(heights: Numbers, accuracies: Numbers, counts: Numbers, chance: float) -> list[Curve]:
    """The likeliest curve for each row of accuracies, [rows, heights]."""
    middles = np.geomspace(heights[0] / BEYOND, heights[-1] * BEYOND, MIDDLES)
    middle, slope, lapse = (each.ravel() for each in np.meshgrid(middles, SLOPES, LAPSES, indexing="ij"))
    # In this form nothing overflows.
    risen = 0.5 + 0.5 * np.tanh(0.5 * slope[:, None] * np.log(heights / middle[:, None]))
    share = np.clip(chance + (1 - chance - lapse[:, None]) * risen, 1e-6, 1 - 1e-6)
    # The logarithm of the likelihood is a product, and a sum that does not depend on what was read.
    odds, none = counts * (np.log(share) - np.log1p(-share)), np.log1p(-share) @ counts
    parts = np.array_split(accuracies, -(-len(accuracies) // AT_ONCE))
    best = [place for rows in parts for place in _best(odds @ rows.T + none[:, None])]
    return [Curve(float(middle[each]), float(slope[each]), chance, float(lapse[each])) for each in best]


def _best(likelihoods: Numbers) -> list[int]:
    """For each column the row that is the likeliest; the one in the middle if several are, as if nothing was tested
    between two heights of which all is read at one and nothing at the other.
    """
    likeliest = likelihoods >= likelihoods.max(0) - TIED
    return [int((rows := np.flatnonzero(column))[len(rows) // 2]) for column in likeliest.T]


def _between_heights(estimate: Estimate, heights: Numbers) -> Estimate:
    """Samples that all agree leave open where it is between the heights that were tested beside it."""
    if estimate.low != estimate.high or np.isinf(estimate.value):
        return estimate
    below, above = heights[heights <= estimate.value], heights[heights >= estimate.value]
    low, high = (below[-1] if len(below) else -np.inf), (above[0] if len(above) else np.inf)
    return Estimate(estimate.value, float(low), float(high))


def _beyond_none(estimate: Estimate, pages: int) -> Estimate:
    """All or nothing on every page leaves open what a further page would show (Clopper and Pearson's interval)."""
    if estimate.low != estimate.high or estimate.value not in (0.0, 1.0):
        return estimate
    certain = float(((1 - COVERED) / 2) ** (1 / pages))
    return Estimate(estimate.value, *((certain, 1.0) if estimate.value else (0.0, 1 - certain)))


def _smallest(curve: Curve, share: float, heights: Numbers) -> float:
    """The height at which a share is read; -inf if that is below all heights, inf if it is above all of them."""
    (first, last), above = curve.at(heights[[0, -1]]), 1 - curve.lapse - share
    # The ceiling itself is approached, not reached.
    if last < share or above < 1e-9:
        return np.inf
    if first >= share:
        return -np.inf
    odds = (share - curve.chance) / above
    return float(curve.middle * odds ** (1 / curve.slope))


def _estimate(values: Numbers) -> Estimate:
    """The first value, with the percentiles of the others, which may be infinite."""
    low, high = np.quantile(values[1:], [(1 - COVERED) / 2, (1 + COVERED) / 2], method="inverted_cdf")
    return Estimate(float(values[0]), float(low), float(high))

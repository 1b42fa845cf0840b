"""Where the views of a picture meet: characters there are cut in two."""

from collections.abc import Sequence
from dataclasses import dataclass

from foveal.core import Box, Size
from foveal.models import ViewPlan

INSIDE = 0.5
"""Pixels from the edge of a page; what is nearer is its edge."""


@dataclass(frozen=True, order=True)
class Seam:
    """The edge of a view inside of a picture, in pixels of the picture.

    Attributes:
        upright: from top to bottom; otherwise from left to right.
        at: its distance from the picture's left side, or from its top.
        start: where it begins, from the picture's top or left side.
        end: where it ends.
    """

    upright: bool
    at: float
    start: float
    end: float

    def cuts(self, box: Box) -> bool:
        """Whether it goes through a box."""
        if self.upright:
            return box.left < self.at < box.right and box.top < self.end and self.start < box.bottom
        return box.top < self.at < box.bottom and box.left < self.end and self.start < box.right


def seams_of(plan: ViewPlan, picture: Size) -> tuple[Seam, ...]:
    """The edges of a plan's views inside of a picture.

    Raises:
        ValueError: if the plan cannot cut such a picture.
        NotImplementedError: if the plan does not say what its views show.
    """
    found = set()
    for box in plan.regions(picture):
        if (shown := box.overlap(Box.whole(picture))) is None:
            continue  # padding alone
        left, top, right, bottom = shown
        found |= {Seam(True, at, top, bottom) for at in (left, right) if _is_inside(at, picture.width)}
        found |= {Seam(False, at, left, right) for at in (top, bottom) if _is_inside(at, picture.height)}
    return tuple(sorted(found))


def joined(seams: Sequence[Sequence[Seam]]) -> tuple[Seam, ...]:
    """The seams of several models together, so that all of them read the same pages."""
    return tuple(sorted({seam for each in seams for seam in each}))


def _is_inside(at: float, side: int) -> bool:
    return INSIDE < at < side - INSIDE

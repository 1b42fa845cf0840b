"""Plans that `load` knows by name: variants of the checkpoint's own plan."""

import copy
from collections.abc import Callable
from typing import Literal

from foveal.models.views.plan import ViewPlan
from foveal.models.views.uhd import UhdPlan

PlanName = Literal["uhd_release_evaluation"]
RELEASED_LONG_SIDE = 1024
"""Pixels of the longer side in the evaluation of LLaVA-UHD's release, except on MMBench (thunlp/LLaVA-UHD)."""


def chosen_plan(chosen: ViewPlan | PlanName | None, own: Callable[[], ViewPlan]) -> ViewPlan:
    """The plan that overrides the checkpoint's own, which is made only if it is needed; None: its own.

    `uhd_release_evaluation` is its own with `long_side` 1024: every picture is first resized, small ones too.

    Raises:
        ValueError: if there is no plan of that name, or it is no variant of the checkpoint's own.
    """
    if isinstance(chosen, ViewPlan):
        return chosen
    plan = own()
    if chosen is None:
        return plan
    if chosen != "uhd_release_evaluation":
        raise ValueError(f"there is no plan {chosen!r}, known is uhd_release_evaluation: or pass a ViewPlan")
    if not isinstance(plan, UhdPlan):
        raise ValueError(
            f"the plan uhd_release_evaluation is for LLaVA-UHD, but the checkpoint's is a {type(plan).__name__}"
        )
    resized = copy.copy(plan)
    resized.long_side = RELEASED_LONG_SIDE
    return resized

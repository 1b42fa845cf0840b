"""Plans that `load` knows by name: variants of the checkpoint's own plan."""

import copy
from collections.abc import Callable
from typing import Literal

from foveal.models.views.plan import ViewPlan
from foveal.models.views.tiles import DynamicTilesPlan
from foveal.models.views.uhd import UhdPlan

PlanName = Literal["uhd_release_evaluation", "crop_to_patches"]
RELEASED_LONG_SIDE = 1024
"""Pixels of the longer side in the evaluation of LLaVA-UHD's release, except on MMBench (thunlp/LLaVA-UHD)."""
MOST_TILES = 12
"""transformers' `max_patches` for GOT-OCR 2.0."""


def chosen_plan(chosen: ViewPlan | PlanName | None, own: Callable[[], ViewPlan]) -> ViewPlan:
    """The plan that overrides the checkpoint's own, which is made only if it is needed; None: its own.

    `uhd_release_evaluation` is its own with `long_side` 1024: every picture is first resized, small ones too.
    `crop_to_patches` is its own with up to 12 tiles and a thumbnail instead of one view.

    Raises:
        ValueError: if there is no plan of that name, or it is no variant of the checkpoint's own.
    """
    if isinstance(chosen, ViewPlan):
        return chosen
    plan = own()
    if chosen is None:
        return plan
    changed = copy.copy(plan)
    if chosen == "uhd_release_evaluation":
        if not isinstance(changed, UhdPlan):
            raise _no_variant(chosen, "LLaVA-UHD", plan)
        changed.long_side = RELEASED_LONG_SIDE
    elif chosen == "crop_to_patches":
        if not isinstance(changed, DynamicTilesPlan):
            raise _no_variant(chosen, "GOT-OCR 2.0", plan)
        changed.max_tiles = max(changed.max_tiles, MOST_TILES)
    else:
        raise ValueError(
            f"there is no plan {chosen!r}, known are uhd_release_evaluation and crop_to_patches: or pass a ViewPlan"
        )
    return changed


def _no_variant(name: str, of: str, plan: ViewPlan) -> ValueError:
    return ValueError(f"the plan {name} is for {of}, but the checkpoint's is a {type(plan).__name__}")

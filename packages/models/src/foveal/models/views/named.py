"""Plans that `load` knows by name: variants of the checkpoint's own plan."""

import copy
from collections.abc import Callable
from typing import Literal

from foveal.models.views.onevision import OneVisionPlan
from foveal.models.views.plan import ViewPlan
from foveal.models.views.stretch import StretchToSquare
from foveal.models.views.tiles import DynamicTilesPlan
from foveal.models.views.uhd import UhdPlan

PlanName = Literal["uhd_release_evaluation", "crop_to_patches", "interleave_evaluation"]
MODELS = {
    "uhd_release_evaluation": "LLaVA-UHD",
    "crop_to_patches": "GOT-OCR 2.0",
    "interleave_evaluation": "LLaVA-NeXT-Interleave",
}
"""The model that a plan is for."""
RELEASED_LONG_SIDE = 1024
"""Pixels of the longer side in the evaluation of LLaVA-UHD's release, except on MMBench (thunlp/LLaVA-UHD)."""
MOST_TILES = 12
"""transformers' `max_patches` for GOT-OCR 2.0."""


def chosen_plan(chosen: ViewPlan | PlanName | None, own: Callable[[], ViewPlan]) -> ViewPlan:
    """The plan that overrides the checkpoint's own, which is made only if it is needed; None: its own.

    `uhd_release_evaluation` is its own with `long_side` 1024: every picture is first resized, small ones too.
    `crop_to_patches` is its own with up to 12 tiles and a thumbnail instead of one view.
    `interleave_evaluation` is one view of every picture, stretched to a square, as in the evaluation and the demo of
    LLaVA-NeXT-Interleave (LLaVA-NeXT's code, playground/demo/interleave_demo.py).

    Raises:
        ValueError: if there is no plan of that name, or it is no variant of the checkpoint's own.
    """
    if isinstance(chosen, ViewPlan):
        return chosen
    plan = own()
    if chosen is None:
        return plan
    changed = copy.copy(plan)
    if chosen == "uhd_release_evaluation" and isinstance(changed, UhdPlan):
        changed.long_side = RELEASED_LONG_SIDE
        return changed
    if chosen == "crop_to_patches" and isinstance(changed, DynamicTilesPlan):
        changed.max_tiles = max(changed.max_tiles, MOST_TILES)
        return changed
    if chosen == "interleave_evaluation" and isinstance(plan, OneVisionPlan):
        return StretchToSquare(plan.size, draft=plan.draft)
    if chosen not in MODELS:
        raise ValueError(f"there is no plan {chosen!r}, known are {', '.join(MODELS)}: or pass a ViewPlan")
    raise ValueError(f"the plan {chosen} is for {MODELS[chosen]}, but the checkpoint's is a {type(plan).__name__}")

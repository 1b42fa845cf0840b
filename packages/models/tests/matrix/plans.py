"""Plans and merges of the matrix."""

from functools import partial

from foveal.models import (
    AnyResMerge,
    AnyResPlan,
    CropToSquare,
    DeepSeekOcr2Plan,
    DeepStackHdMerge,
    DeepStackHdPlan,
    DeepStackMerge,
    DeepStackPlan,
    DynamicTilesPlan,
    LevelsMerge,
    MarkedPlan,
    MiniCpmPlan,
    NativePlan,
    OneVisionMerge,
    OneVisionPlan,
    PadToSquare,
    SeparatorMerge,
    SequenceMerge,
    StretchToSquare,
    UhdPlan,
    UhdV3Plan,
    VaryPlan,
    VideoPlan,
)

SIDE = 64
"""Pixels along one side of a view; the encoders have cells of 16, 32 or 64."""

ONE_VIEW = {
    "square": PadToSquare(SIDE),
    "crop": CropToSquare(SIDE),
    "stretch": StretchToSquare(SIDE),
    "native": NativePlan(SIDE, SIDE * SIDE, 9 * SIDE * SIDE, start="<img>", end="</img>"),
    "marked": MarkedPlan(PadToSquare(SIDE), start="<img>", end="</img>"),
    "vary_tiny": VaryPlan(2 * SIDE),
}
SLICES = {
    "uhd": UhdPlan(SIDE, 16, 4),
    "uhd_whole_cells": UhdPlan(2 * SIDE, SIDE, 4),
    "uhd_first": UhdPlan(SIDE, 16, 4, overview="first", separators=False),
    "minicpm": MiniCpmPlan(SIDE, 32, 4),
    "uhd_v3": UhdV3Plan(SIDE, 2 * SIDE, smallest=SIDE, longest=4 * SIDE),
}
TILES = {
    "anyres": AnyResPlan(SIDE),
    "onevision": OneVisionPlan(SIDE, [(1, 2), (2, 1), (2, 2)]),
    "dynamic_tiles": DynamicTilesPlan(SIDE, 4),
    "dynamic_tiles_enclosed": DynamicTilesPlan(SIDE, 2, start="<img>", end="</img>", enclose_together=True),
    "deepseek_ocr2": DeepSeekOcr2Plan(2 * SIDE, SIDE, 4),
}
SEEN_TOGETHER = {
    "deepstack": DeepStackPlan(SIDE),
    "deepstack_together": DeepStackPlan(SIDE, square=True, together=True),
    "deepstack_hd": DeepStackHdPlan(SIDE),
    "vary_base": VaryPlan(2 * SIDE, SIDE),
    "video": VideoPlan(CropToSquare(SIDE), frames=4),
}
PLANS = ONE_VIEW | SLICES | TILES | SEEN_TOGETHER
MERGES = {
    "none": None,
    "anyres": AnyResMerge,
    "anyres_at_most": partial(AnyResMerge, max_tiles=1),
    "anyres_flat": partial(AnyResMerge, kind="flat"),
    "onevision": partial(OneVisionMerge, max_tiles=2),
    "deepstack": DeepStackMerge,
    "sequence": SequenceMerge,
    "separator": SeparatorMerge,
    "deepstack_hd": DeepStackHdMerge,
    "levels": LevelsMerge,
}
METHODS = [
    *((plan, "none") for plan in PLANS),
    ("anyres", "anyres"),
    ("anyres", "anyres_at_most"),
    ("anyres", "anyres_flat"),
    ("onevision", "onevision"),
    ("deepstack", "deepstack"),
    ("deepstack", "sequence"),
    ("deepstack_hd", "deepstack_hd"),
    ("square", "levels"),
    ("native", "levels"),
    ("deepseek_ocr2", "separator"),
]
"""Plans with the merges that are made for them."""

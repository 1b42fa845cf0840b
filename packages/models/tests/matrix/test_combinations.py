"""Combinations across papers: those that somebody may want, and those that are refused with the reason."""

import pytest
from packages.models.tests.matrix.workshop import REASONS, check

SENSIBLE = [
    ("uhd", "none", "clip", "spatial_resampler"),
    ("uhd", "none", "pyramid", "hiwin"),
    ("uhd", "none", "clip_layers", "hiwin"),
    ("uhd", "none", "clip_layers", "mmfuser"),
    ("uhd", "none", "clip_layers", "dense_resampler"),
    ("uhd", "none", "clip", "q_former"),
    ("uhd", "none", "sam_siglip", "split_mlp"),
    ("uhd_v3", "none", "vit_uhd", "mlp"),
    ("uhd_v3", "none", "moonvit", "pixel_shuffle"),
    ("uhd_whole_cells", "none", "convnext", "mlp"),
    ("uhd_whole_cells", "none", "mixture_of_resolution", "c_abstractor"),
    ("minicpm", "none", "early_compression", "patch_merger"),
    ("minicpm", "none", "siglip", "spatial_resampler"),
    ("uhd", "none", "early_compression", "perceiver"),
    ("anyres", "anyres", "clip", "c_abstractor"),
    ("anyres", "anyres", "siglip", "pixel_shuffle"),
    ("anyres", "anyres", "clip_layers", "token_packer"),
    ("anyres", "anyres", "parallel_one_view", "parallel_channels"),
    ("anyres", "anyres_at_most", "convnext_five_stages", "mlp"),
    ("anyres", "deepstack", "clip", "mlp"),
    ("deepstack", "deepstack", "sam_siglip", "split_mlp"),
    ("deepstack", "deepstack", "clip_layers", "dense_dci"),
    ("deepstack", "deepstack", "clip_layers", "mmfuser"),
    ("deepstack", "deepstack", "convnext_five_stages", "linear"),
    ("deepstack", "sequence", "dinov2", "mlp"),
    ("deepstack", "anyres", "clip", "mlp"),
    ("deepstack_hd", "deepstack_hd", "siglip", "adaptive_pool"),
    ("deepstack_together", "none", "stacked", "pixel_shuffle"),
    ("dynamic_tiles", "none", "clip", "pixel_shuffle"),
    ("dynamic_tiles_enclosed", "none", "sam", "linear"),
    ("square", "levels", "clip_layers", "parallel_levels"),
    ("native", "levels", "qwen3_vl", "parallel_levels"),
    ("native", "none", "siglip", "patch_merger"),
    ("native", "none", "convnext", "mlp"),
    ("dynamic_tiles", "none", "causal_flow", "linear"),
    ("deepseek_ocr2", "separator", "causal_flow", "linear"),
    ("vary_tiny", "none", "sam", "adaptive_pool"),
    ("vary_base", "none", "parallel_two_views", "parallel_pools"),
    ("vary_base", "none", "parallel_two_views", "split_mlp"),
    ("video", "none", "frames", "space_time_pool"),
    ("video", "none", "frames", "flamingo_frames"),
]
"""What somebody may want to put together, across papers."""

REFUSED = {
    ("uhd", "none", "clip", "pixel_shuffle"): "grids",
    ("uhd", "none", "convnext", "mlp"): "grids",
    ("uhd", "anyres", "clip", "mlp"): "texts between views",
    ("minicpm", "anyres", "clip", "mlp"): "texts between views",
    ("uhd_first", "anyres", "clip", "mlp"): "plane",
    ("square", "deepstack", "clip", "mlp"): "plane",
    ("anyres", "anyres", "clip", "q_former"): "plane",
    ("deepstack", "deepstack", "clip_layers", "dense_sti"): "plane",
    ("deepstack", "deepstack", "convnext_layers", "split_mlp"): "grids",
    ("anyres", "deepstack_hd", "clip", "mlp"): "number of views",
    ("anyres", "levels", "clip_layers", "parallel_levels"): "number of views",
    ("square", "none", "clip_layers", "parallel_levels"): "levels",
    ("square", "levels", "clip", "mlp"): "levels",
    ("square", "none", "stacked", "mlp"): "views seen together",
    ("vary_base", "none", "sam", "mlp"): "views seen together",
    ("video", "none", "clip", "mlp"): "views seen together",
    ("video", "anyres", "frames", "space_time_pool"): "plane",
    ("square", "none", "clip", "mmfuser"): "number of maps",
    ("square", "none", "clip_layers", "mlp"): "number of maps",
    ("square", "none", "sam_siglip", "average"): "widths",
    ("square", "none", "clip_class_token", "mlp"): "class token",
    ("vary_base", "none", "clip", "mlp_class_token"): "class token",
    ("square", "none", "convnext_layers", "parallel_interleave"): "number of tokens",
}


@pytest.mark.parametrize("names", SENSIBLE, ids="-".join)
def test_sensible_combination(workshop, names):
    assert check(workshop, *names) is None


@pytest.mark.parametrize(("names", "kind"), REFUSED.items(), ids=["-".join(names) for names in REFUSED])
def test_reason(workshop, names, kind):
    assert workshop.built(*names) == kind


def test_every_reason_has_an_example():
    assert set(REFUSED.values()) == set(REASONS)

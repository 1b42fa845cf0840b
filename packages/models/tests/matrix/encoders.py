"""Encoders of the matrix."""

from functools import partial

from packages.models.tests.matrix.plans import SIDE

from foveal.encoders import (
    CausalFlowEncoder,
    ConvNeXt,
    EarlyCompressionViT,
    FrameEncoder,
    InverseSemanticPyramid,
    MixtureOfResolution,
    MoonViT,
    ParallelEncoder,
    Qwen3VisionTransformer,
    SamSiglipHybrid,
    SamViTDet,
    StackedVisionTransformer,
    VisionTransformer,
    dinov2_tower,
    siglip_tower,
)

CLIP = partial(VisionTransformer, 16, 2, 2, 24, 16, SIDE)
SAM = partial(
    SamViTDet, 16, 2, 2, 16, 2 * SIDE, window=3, global_blocks=(1,), neck_width=12, downsample=(24,), mlp_ratio=2
)
CONVNEXT = partial(ConvNeXt, (8, 12, 16, 16), (1, 1, 1, 1))
ENCODERS = {
    "clip": CLIP,
    "clip_class_token": partial(CLIP, keep_class_token=True),
    "clip_layers": partial(VisionTransformer, 16, 5, 2, 24, 16, SIDE, layers=(0, 1, 3, -2)),
    "qwen3_vl": partial(Qwen3VisionTransformer, 16, 4, 2, 24, 16, SIDE, layers=(-1, 0, 1, 2)),
    "siglip": partial(siglip_tower, 24, 2, 2, 32, 16, SIDE),
    "dinov2": partial(dinov2_tower, 16, 2, 2, 24, 16, SIDE, num_registers=2),
    "convnext": CONVNEXT,
    "convnext_five_stages": partial(ConvNeXt, (8, 12, 16, 16, 24), (1, 1, 1, 1, 1)),
    "convnext_layers": partial(CONVNEXT, layers=(3, 4)),
    "sam": SAM,
    "mixture_of_resolution": lambda: MixtureOfResolution(
        VisionTransformer(16, 4, 2, 24, 16, SIDE, layers=(-1,)), CONVNEXT(), fast_size=SIDE
    ),
    "causal_flow": lambda: CausalFlowEncoder(SAM(downsample=(24, 16)), 2, 2, 1, 24, query_sides=(1, 2)),
    "moonvit": partial(MoonViT, 16, 2, 2, 24, 16, SIDE),
    "vit_uhd": partial(MoonViT, 16, 2, 2, 24, 8, SIDE, compress_after=(1,)),
    "pyramid": lambda: InverseSemanticPyramid(CLIP(), scales=(1, 2)),
    "sam_siglip": lambda: SamSiglipHybrid(SAM(), siglip_tower(20, 2, 2, 32, 16, SIDE)),
    "parallel_one_view": lambda: ParallelEncoder([CLIP(), dinov2_tower(16, 2, 2, 24, 16, SIDE)], one_view=True),
    "parallel_two_views": lambda: ParallelEncoder([CLIP(), SAM()]),
    "frames": lambda: FrameEncoder(CLIP(), frames=4),
    "early_compression": partial(EarlyCompressionViT, 16, 2, 2, 24, 8, SIDE, compress_after=1),
    "stacked": lambda: StackedVisionTransformer(VisionTransformer(16, 5, 2, 24, 16, SIDE), start=1),
}

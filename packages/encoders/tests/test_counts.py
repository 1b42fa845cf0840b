"""Parameters of the published encoders, counted on the meta device.

The published figures come from transformers 5.23 (its vision towers, built on the meta device), torchvision's pages or
the papers, as each line says. Our towers end at the requested layer and have no head: what is left out is named and
counted, so that both sides agree to the last parameter.
"""

from dataclasses import dataclass, field
from functools import partial

import pytest
import torch

from foveal.encoders import (
    ConvNeXt,
    EarlyCompressionViT,
    InverseSemanticPyramid,
    MixtureOfResolution,
    MoonViT,
    Qwen3VisionTransformer,
    SamSiglipHybrid,
    SamViTDet,
    StackedVisionTransformer,
    VisionTransformer,
    clip_vit_large_224,
    clip_vit_large_336,
    convnext_large,
    convnext_xxlarge,
    dinov2_vit_large,
    intern_vit_6b_448,
    intern_vit_300m_448,
    siglip_tower,
    siglip_vit_large_384,
    siglip_vit_so400m_384,
)
from foveal.encoders.dinov2 import dinov2_tower

LAST = (-1,)


def count(build):
    with torch.device("meta"):
        return sum(weight.numel() for weight in build().parameters())


def norm(width):
    return 2 * width


def linear(before, after):
    return before * after + after


def pooling_head(width, mlp_width):
    """SigLIP's pooling head: a learned query, torch's attention, a norm and an MLP."""
    attention = linear(width, 3 * width) + linear(width, width)
    return width + attention + norm(width) + linear(width, mlp_width) + linear(mlp_width, width)


def clip(width, depth, heads, patch, size):
    return lambda: VisionTransformer(width, depth, heads, 4 * width, patch, size, layers=LAST)


def sam(width, depth, heads, *global_blocks):
    return lambda: SamViTDet(width, depth, heads, global_blocks=global_blocks, downsample=())


MOONVIT = partial(MoonViT, 1152, 27, 16, 4304, 14, 896)


@dataclass(frozen=True)
class Published:
    name: str
    source: str
    figure: int
    build: object
    left_out: dict[str, int] = field(default_factory=dict)

    def __str__(self):
        return f"{self.name}, {self.source}"


PUBLISHED = [
    Published(
        "CLIP L/14 336",
        "transformers",
        303_507_456,
        lambda: clip_vit_large_336(layers=LAST),
        {"norm behind the last block": norm(1024)},
    ),
    Published(
        "CLIP L/14 336 as LLaVA uses it",
        "transformers",
        303_507_456,
        clip_vit_large_336,
        {"the last of 24 blocks": 12_596_224, "norm behind it": norm(1024)},
    ),
    Published(
        "CLIP L/14 224",
        "transformers",
        303_179_776,
        lambda: clip_vit_large_224(layers=LAST),
        {"norm behind the last block": norm(1024)},
    ),
    Published("CLIP B/32", "transformers", 87_456_000, clip(768, 12, 12, 32, 224), {"last norm": norm(768)}),
    Published("CLIP B/16", "transformers", 85_799_424, clip(768, 12, 12, 16, 224), {"last norm": norm(768)}),
    Published(
        "SigLIP so400m/14 384",
        "transformers",
        428_225_600,
        lambda: siglip_vit_so400m_384(layers=LAST),
        {"last norm": norm(1152), "pooling head": pooling_head(1152, 4304)},
    ),
    Published(
        "SigLIP L/16 384",
        "transformers",
        316_283_904,
        lambda: siglip_vit_large_384(layers=LAST),
        {"last norm": norm(1024), "pooling head": pooling_head(1024, 4096)},
    ),
    Published(
        "SigLIP B/16 224",
        "transformers",
        92_884_224,
        lambda: siglip_tower(768, 12, 12, 3072, 16, 224, layers=LAST, use_final_norm=True),
        {"pooling head": pooling_head(768, 3072)},
    ),
    Published(
        "MiniCPM-V 4.6's tower", "transformers", 522_299_312, lambda: EarlyCompressionViT(1152, 27, 16, 4304, 14, 980)
    ),
    Published(
        "DINOv2 L/14",
        "transformers",
        304_368_640,
        dinov2_vit_large,
        {"last norm": norm(1024), "token that hides patches in pre-training": 1024},
    ),
    Published(
        "DINOv2 g/14",
        "transformers",
        1_136_480_768,
        lambda: dinov2_tower(1536, 40, 24, 4096, 14, 518, activation="swiglu"),
        {"last norm": norm(1536), "token that hides patches in pre-training": 1536},
    ),
    # transformers' classes on the meta device, with the settings of the published config.json.
    Published("InternViT 300M 448", "transformers", 304_012_288, intern_vit_300m_448),
    Published("InternViT 6B 448, version 2.5", "transformers", 5_536_496_000, intern_vit_6b_448),
    Published("MoonViT SO-400M", "transformers (Kimi-K2.5)", 416_866_032, MOONVIT),
    Published(
        "Qwen3-VL 2B and 4B",
        "transformers",
        306_242_560,
        lambda: Qwen3VisionTransformer(1024, 24, 16, 4096),
    ),
    Published("SAM B", "transformers", 89_670_912, sam(768, 12, 12, 2, 5, 8, 11)),
    Published("SAM L", "transformers", 308_278_272, sam(1024, 24, 16, 5, 11, 17, 23)),
    Published("SAM H", "transformers", 637_026_048, sam(1280, 32, 16, 7, 15, 23, 31)),
    Published("Vary's vocabulary: SAM B and two convolutions", "arXiv 2312.06109", 95_569_152, SamViTDet),
    Published(
        "ConvNeXt-B",
        "torchvision",
        88_591_464,
        lambda: ConvNeXt((128, 256, 512, 1024), (3, 3, 27, 3)),
        {"last norm": norm(1024), "classifier": linear(1024, 1000)},
    ),
    Published(
        "ConvNeXt-L",
        "torchvision",
        197_767_336,
        convnext_large,
        {"last norm": norm(1536), "classifier": linear(1536, 1000)},
    ),
    Published("ConvNeXt-L", "transformers", 196_230_336, convnext_large, {"last norm": norm(1536)}),
    Published("ConvNeXt-XXL", "transformers", 843_398_016, convnext_xxlarge, {"last norm": norm(3072)}),
    Published(
        "ConvLLaVA: ConvNeXt-L and a fifth stage",
        "transformers",
        669_167_808,
        lambda: convnext_large(fifth_stage=True),
        {"last norm": norm(3072)},
    ),
]


@pytest.mark.parametrize("published", PUBLISHED, ids=str)
def test_parameters_are_those_published(published):
    assert count(published.build) + sum(published.left_out.values()) == published.figure


def test_the_parameters_that_llava_uses():
    """LLaVA-1.5 uses the output of block 23 of 24: 290,909,184 of CLIP's parameters."""
    assert count(clip_vit_large_336) == 290_909_184


@pytest.mark.parametrize(
    ("shallow", "deep", "difference"),
    [
        (clip_vit_large_336, lambda: clip_vit_large_336(layers=LAST), 12_596_224),
        (clip_vit_large_336, lambda: clip_vit_large_336(layers=(3, -2)), 0),
        (lambda: SamViTDet(downsample=()), SamViTDet, 5_898_240),
        (lambda: SamViTDet(downsample=()), lambda: SamViTDet(downsample=(512,)), 9 * 256 * 512),
        (dinov2_vit_large, lambda: dinov2_vit_large(num_registers=4), 4 * 1024),
        (convnext_large, lambda: convnext_large(layers=(0, 1, 2, 3, 4)), 0),
        (
            lambda: siglip_tower(1024, 24, 16, 4096, 16, 384, layers=LAST),
            lambda: siglip_tower(1024, 24, 16, 4096, 16, 384, layers=LAST, use_final_norm=True),
            norm(1024),
        ),
        (
            lambda: siglip_tower(1024, 24, 16, 4096, 16, 384, layers=(-2,)),
            lambda: siglip_tower(1024, 24, 16, 4096, 16, 384, layers=(-2,), use_final_norm=True),
            0,
        ),
    ],
    ids=[
        "the last block of CLIP L/14",
        "a shallow map costs nothing",
        "Vary's two convolutions",
        "the first of them",
        "registers",
        "maps of all stages",
        "a final norm",
        "no final norm where the last layer is not asked for",
    ],
)
def test_what_an_option_adds(shallow, deep, difference):
    assert count(deep) - count(shallow) == difference


def llava_hr(slow, **options):
    return lambda: MixtureOfResolution(clip_vit_large_336(layers=LAST), slow(), **options)


@pytest.mark.parametrize(("slow", "adapter"), [(convnext_large, 6.09), (convnext_xxlarge, 14.74)])
def test_llava_hr(slow, adapter):
    """LLaVA-HR's code: 6.09 M parameters in each of three adapters, 14.74 M in the X model."""
    with_adapters, without = count(llava_hr(slow)), count(llava_hr(slow, adapters=False))
    assert round((with_adapters - without) / 3e6, 2) == adapter
    towers = count(lambda: clip_vit_large_336(layers=LAST)) + count(slow)
    slow_width = 1536 if slow is convnext_large else 3072
    assert without - towers == linear(1024, 1024) + linear(slow_width, 1024)


def test_the_last_sum_of_llava_hr():
    """LLaVA-HR's code: 2.62 M parameters in the sum of both maps as tokens."""
    towers = count(lambda: clip_vit_large_336(layers=LAST)) + count(convnext_large)
    assert round((count(llava_hr(convnext_large, adapters=False)) - towers) / 1e6, 2) == 2.62


def test_deepseek_vl():
    """DeepSeek-VL's code: 96.36 M parameters in the high tower (SAM, convolutions, second neck, its share)."""

    def low():
        return siglip_tower(1024, 24, 16, 4096, 16, 384, layers=LAST, use_final_norm=True)

    high = count(lambda: SamSiglipHybrid(SamViTDet(), low())) - count(low)
    assert high == 95_569_152 + 256 * 768 + 9 * 256 * 256 + 2 * norm(256) + 1
    assert round(high / 1e6, 2) == 96.36


@pytest.mark.parametrize("after", [(4, 18), (4, 18, 27)])
def test_llava_uhd_v3(after):
    """LLaVA-UHD v3's code: a compression has 3 x 1152^2 + 1152 weights that matter; patches of 10 pixels have fewer."""
    more = len(after) * (linear(2 * 1152, 1152) + 1152 * 1152)
    assert count(partial(MOONVIT, compress_after=after)) - count(MOONVIT) == more
    small = partial(MoonViT, 1152, 27, 16, 4304, 10, 640)
    assert count(MOONVIT) - count(small) == 3 * (14 * 14 - 10 * 10) * 1152


def test_llava_uhd_v2():
    """LLaVA-UHD v2's code: two steps of 6,233 parameters each, and a 1 x 1 convolution of the tower's width."""
    step = linear(3, 32) + linear(32, 32) + linear(52, 49) + linear(49, 49) + 2
    pyramid = count(lambda: InverseSemanticPyramid(clip_vit_large_336())) - count(clip_vit_large_336)
    assert step == 6_233
    assert pyramid == 2 * step + linear(1024, 1024)


@pytest.mark.parametrize("post_blocks", [0, 5])
def test_deepstack_v_adds_nothing_but_new_blocks(post_blocks):
    """DeepStack (arXiv 2406.04334) adds no parameters."""

    def stacked():
        tower = clip_vit_large_336(layers=LAST)
        return StackedVisionTransformer(tower, start=20, post_blocks=post_blocks)

    assert count(stacked) - count(lambda: clip_vit_large_336(layers=LAST)) == post_blocks * 12_596_224

"""Whole models at their published sizes, as shapes on the meta device: parameters, tokens, and what a prefill costs.

Figures come from the papers, the released files, or counts in the reference implementations. Our encoders end at the
requested layer and have no head; what the published ones have after it is named and added.
"""

import argparse
import re
from functools import cache, partial

import pytest
import torch
from tools.bench import language_models, methods, published
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from foveal.core import Size
from foveal.encoders import (
    SamViTDet,
    clip_vit_large_336,
    convnext_large,
    convnext_xxlarge,
    dinov2_vit_large,
    siglip_tower,
    siglip_vit_large_384,
    siglip_vit_so400m_384,
)
from foveal.models import DeepStackPlan, SequenceMerge, opt
from foveal.models.estimates.cost import Cost, Parts, flops, parameters, picture_size
from foveal.models.estimates.cost import cost as cost_of

LAST = (-1,)
MIB = 2**20
CLIP_336, CLIP_224 = 303_507_456, 303_179_776
CLIP_BLOCK, CLIP_NORM = 12_596_224, 2_048
VARY = 95_569_152
MLP_7B, MLP_13B, MMFUSER = 20_979_712, 31_467_520, 5_190_592
VICUNA_7B, VICUNA_13B = 6_738_415_616, 13_015_864_320
LLAVA_7B, LLAVA_13B = 7_062_902_784, 13_350_839_296


def linear(before, after):
    return before * after + after


def gigabytes(parameters):
    return 2 * parameters / 1e9


def siglip_head(width, mlp_width):
    attention = linear(width, 3 * width) + linear(width, width)
    return width + attention + 2 * width + linear(width, mlp_width) + linear(mlp_width, width)


def decoder(vocabulary, width, depth, mlp_width, *, bias=0):
    """Parameters of a LLaMA: two tables, attention, gated feed-forward layers and norms."""
    return 2 * vocabulary * width + depth * (4 * width**2 + bias + 3 * width * mlp_width + 2 * width) + width


def resampler(width, queries):
    """LLaVA-UHD's: queries and their table, keys from 1024 channels, attention, three norms, the last matrix."""
    return 2 * queries * width + 1024 * width + 4 * linear(width, width) + 3 * 2 * width + width**2


@cache
def parts(name):
    return parameters(methods.built(published.METHODS[name]))


@cache
def cost(name, width, height):
    return cost_of(methods.built(published.METHODS[name]), [Size(width, height)], text=methods.TEXT)


def tokens(build, width, height):
    return methods.built(build).processor.count(Size(width, height))


def encoder_flops(build, size):
    with torch.device("meta"):
        encoder, view = build(), torch.empty(1, 3, size, size)
    return flops(lambda: encoder(view))


@cache
def vicuna_7b():
    with torch.device("meta"):
        return language_models.vicuna_7b()


HYBRID_HIGH = VARY + 256 * 768 + 9 * 256 * 256 + 4 * 256 + 1
HR_ADAPTER = linear(1536, 1536) + linear(1536, 1024) + linear(49, 1024) + linear(1024, 1024)
HR_ADAPTER += linear(2048, 512) + linear(512, 1)
HR = 3 * HR_ADAPTER + linear(1024, 1024) + linear(1536, 1024)
QWEN_7B = decoder(151_936, 4096, 32, 11008, bias=3 * 4096)
QWEN_500M = decoder(151_860, 1024, 24, 2816, bias=3 * 1024) - 151_860 * 1024  # the tables are one
QWEN2_500M, QWEN2_7B = 494_032_768, 7_615_616_512
SO400M = 428_225_600
SO400M_BEHIND = 4 * linear(1152, 1152) + linear(1152, 4304) + linear(4304, 1152) + 6 * 1152 + siglip_head(1152, 4304)
# MoonViT with patches of 10 pixels instead of 14, and each compression.
MOONVIT_10, COMPRESSION = 416_866_032 - 3 * (14 * 14 - 10 * 10) * 1152, linear(2 * 1152, 1152) + 1152**2
# SAM's encoder with narrower convolutions, Qwen2-0.5B without its table, and 400 queries.
FLOW = 89_670_912 + 9 * (256 * 512 + 512 * 896) + QWEN2_500M - 151_936 * 896 + 400 * 896
EXPERTS_3B = decoder(129_280, 1280, 12, 0) + 3 * 1280 * 6848 + 11 * (66 * 3 * 1280 * 896 + 64 * 1280)
OPT_125M = 125_239_296
CLIP_BEHIND = CLIP_BLOCK + CLIP_NORM

# For each: the published encoder, its parameters after the requested layer, connector and merge, language model.
PARTS = {
    "LLaVA-1.5 7B": (CLIP_336, CLIP_BEHIND, MLP_7B, VICUNA_7B),
    "DeCo 7B": (CLIP_336, CLIP_BEHIND, MLP_7B, VICUNA_7B),
    "Q-Former, 2 layers, 7B": (CLIP_336, CLIP_BEHIND, 20_194_816, VICUNA_7B),
    "Dense Connector 7B": (CLIP_336, CLIP_BEHIND, linear(3072, 4096) + linear(4096, 4096), VICUNA_7B),
    "MMFuser 7B": (CLIP_336, CLIP_BEHIND, MMFUSER + MLP_7B, VICUNA_7B),
    "LLaVA-NeXT 7B": (CLIP_336, CLIP_BEHIND, MLP_7B + 4096, VICUNA_7B),
    "LLaVA-OneVision 0.5B": (SO400M, SO400M_BEHIND, linear(1152, 896) + linear(896, 896) + 896, QWEN2_500M),
    "LLaVA-OneVision 7B": (SO400M, SO400M_BEHIND, linear(1152, 3584) + linear(3584, 3584) + 3584, QWEN2_7B),
    "PLLaVA 7B, 16 frames": (CLIP_336, CLIP_BEHIND, MLP_7B, VICUNA_7B),
    "DeepStack-L 7B": (CLIP_336, CLIP_BEHIND, MLP_7B, VICUNA_7B),
    "DeepStack-V 7B": (CLIP_336, CLIP_BEHIND, MLP_7B, VICUNA_7B),
    "DeepStack-L-HD 7B": (CLIP_336, CLIP_BEHIND, MLP_7B + 4096, VICUNA_7B),
    "LLaVA-UHD 7B, 64 queries": (CLIP_336, CLIP_BEHIND, resampler(4096, 64), VICUNA_7B),
    "LLaVA-UHD v2 7B": (CLIP_336 + 2 * 6_233 + linear(1024, 1024), CLIP_BEHIND, 162_402_304, VICUNA_7B),
    "LLaVA-UHD v3 7B": (MOONVIT_10 + 3 * COMPRESSION, 0, linear(1152, 3584) + linear(3584, 3584), QWEN2_7B),
    "ConvLLaVA 7B, 1536 pixels": (669_167_808, 2 * 3072, linear(3072, 4096) + linear(4096, 4096), VICUNA_7B),
    "LLaVA-HR 7B, 1024 pixels": (CLIP_336 + 196_230_336 + HR, CLIP_NORM + 2 * 1536, MLP_7B, VICUNA_7B),
    "DeepSeek-VL 7B": (
        HYBRID_HIGH + 316_283_904,
        siglip_head(1024, 4096),
        2 * linear(1024, 2048) + linear(4096, 4096),
        decoder(102_400, 4096, 30, 11008),
    ),
    "Vary-base 7B": (CLIP_224 + VARY, CLIP_BEHIND, 2 * linear(1024, 2048), QWEN_7B),
    "Vary-tiny": (VARY, 0, linear(1024, 768), OPT_125M + (50_268 - 50_272 + 2048) * 768),
    "DeepSeek-OCR 2": (FLOW, 0, linear(896, 1280) + 1280, EXPERTS_3B),
    **dict.fromkeys(("GOT-OCR 2.0, one view", "GOT-OCR 2.0, 12 tiles"), (VARY, 0, linear(1024, 1024), QWEN_500M)),
    # transformers' class on the meta device, 938,193,024 in all, with the settings of the published config.json.
    "InternVL3 1B": (304_012_288, 0, 4_482_816, 629_697_920),
    "MiniCPM-V 4.6": (522_299_312, 0, 25_967_104, 752_161_600),
    # transformers 5.23 on the meta device: a tower, a merger and three deep ones, a language model with tied tables.
    "Qwen3-VL 2B": (306_242_560, 0, 25_174_016 + 3 * 25_180_160, 1_720_574_976),
    "Qwen3-VL 4B": (306_242_560, 0, 27_271_680 + 3 * 27_277_824, 4_022_468_096),
    "LLaVA-1.5 13B": (CLIP_336, CLIP_BEHIND, MLP_13B, VICUNA_13B),
    "MMFuser 13B": (CLIP_336, CLIP_BEHIND, MMFUSER + MLP_13B, VICUNA_13B),
    "DeepStack-L 13B": (CLIP_336, CLIP_BEHIND, MLP_13B, VICUNA_13B),
    "LLaVA-UHD 13B, 64 queries": (CLIP_336, CLIP_BEHIND, resampler(5120, 64), VICUNA_13B),
    "LLaVA-UHD 13B, 144 queries": (CLIP_336, CLIP_BEHIND, resampler(5120, 144), VICUNA_13B),
    # DINOv2 has a norm after its last block, and a mask token for pre-training.
    "Mixture of features 13B": (
        CLIP_336 + 304_368_640,
        CLIP_BEHIND + 2_048 + 1_024,
        2 * MLP_13B,
        VICUNA_13B,
    ),
}


@pytest.mark.parametrize("name", published.METHODS)
def test_parameters_of_the_parts(name):
    encoder, behind, connector, language_model = PARTS[name]
    assert parts(name) == Parts(encoder - behind, connector, language_model)


@pytest.mark.parametrize(
    ("name", "figure", "more"),
    [
        ("LLaVA-1.5 7B", LLAVA_7B, 0),
        ("LLaVA-1.5 13B", LLAVA_13B, 0),
        ("DeepStack-L 7B", LLAVA_7B, 0),
        ("DeepStack-V 7B", LLAVA_7B, 0),
        ("DeepStack-L 13B", LLAVA_13B, 0),
        ("DeepStack-L-HD 7B", LLAVA_7B, 4096),
        ("LLaVA-NeXT 7B", LLAVA_7B, 4096),
        ("DeCo 7B", LLAVA_7B, 0),
        ("MMFuser 7B", LLAVA_7B, MMFUSER),
        ("MMFuser 13B", LLAVA_13B, MMFUSER),
    ],
)
def test_the_whole_model_is_llava_and_what_the_method_adds(name, figure, more):
    """LLaVA-1.5 with its whole tower has 7,062,902,784 and 13,350,839,296 parameters."""
    assert parts(name).total + CLIP_BEHIND == figure + more


def test_minicpm_has_as_many_parameters_as_its_release():
    """openbmb/MiniCPM-V-4.6 says so in its safetensors' metadata."""
    assert parts("MiniCPM-V 4.6").total == 1_300_428_016


def test_the_released_files():
    """LLaVA-OneVision's hold 894 M and 8.03 B parameters: all but the tower's last block and its head."""
    assert round(parts("LLaVA-OneVision 0.5B").total / 1e6) == 894
    assert round(parts("LLaVA-OneVision 7B").total / 1e9, 2) == 8.03


def test_the_released_files_of_deepstack_and_uhd():
    """In 16 bits: DeepStack-L 7B 14.13 GB = 13.48 + 0.61 + 0.04; LLaVA-UHD 13B 26.9 GB, its connector 276 MB."""
    deepstack, uhd = parts("DeepStack-L 7B"), parts("LLaVA-UHD 13B, 144 queries")
    sizes = (deepstack.language_model, deepstack.encoder + CLIP_BEHIND, deepstack.connector)
    assert [round(gigabytes(size), 2) for size in sizes] == [13.48, 0.61, 0.04]
    assert round(gigabytes(sum(sizes)), 2) == 14.13
    assert round(gigabytes(uhd.total + CLIP_BEHIND), 1) == 26.9
    assert round(1e3 * gigabytes(uhd.connector)) == 276


def test_language_models():
    """291 tensors in Vicuna-7B's files; OPT-125M before Vary-tiny changes its tables."""
    assert len(list(vicuna_7b().parameters())) == 291
    with torch.device("meta"):
        original = opt(50272, width=768, depth=12, heads=12, mlp_width=3072, context=2048)
    assert sum(weight.numel() for weight in original.parameters()) == OPT_125M


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        pytest.param("LLaVA-1.5 7B", (1000, 3000), [576], id="LLaVA-1.5"),
        pytest.param("DeCo 7B", (1000, 3000), [144], id="DeCo"),
        pytest.param("Q-Former, 2 layers, 7B", (1000, 3000), [144], id="Q-Former"),
        pytest.param("Dense Connector 7B", (1000, 3000), [576], id="Dense Connector, dci"),
        pytest.param("MMFuser 7B", (1000, 3000), [576], id="MMFuser"),
        pytest.param("LLaVA-NeXT 7B", (640, 480), [2340], id="NeXT, 640x480"),
        pytest.param("LLaVA-NeXT 7B", (480, 640), [2352], id="NeXT, 480x640"),
        pytest.param("LLaVA-NeXT 7B", (1920, 1080), [1948], id="NeXT, 1920x1080"),
        pytest.param("LLaVA-NeXT 7B", (336, 336), [1176], id="NeXT, 336x336"),
        pytest.param("LLaVA-NeXT 7B", (152, 55), [776], id="NeXT, 152x55"),
        pytest.param("LLaVA-NeXT 7B", (672, 672), [2928], id="NeXT, the most"),
        pytest.param("PLLaVA 7B, 16 frames", (1000, 3000), [2304], id="PLLaVA, 16 x 12 x 12"),
        pytest.param("DeepStack-L 7B", (1000, 3000), [576], id="DeepStack-L"),
        pytest.param("DeepStack-V 7B", (1000, 3000), [576], id="DeepStack-V"),
        pytest.param("DeepStack-L-HD 7B", (672, 672), [2928], id="DeepStack-L-HD, 2x2"),
        pytest.param("DeepStack-L-HD 7B", (336, 672), [1776], id="DeepStack-L-HD, 1x2"),
        pytest.param("DeepStack-L-HD 7B", (336, 1008), [2376], id="DeepStack-L-HD, 1x3"),
        pytest.param("DeepStack-L-HD 7B", (336, 1344), [2976], id="DeepStack-L-HD, 1x4"),
        pytest.param("DeepStack-L-HD 7B", (672, 336), [1752], id="DeepStack-L-HD, 2x1"),
        pytest.param("DeepStack-L-HD 7B", (1008, 336), [2328], id="DeepStack-L-HD, 3x1"),
        pytest.param("DeepStack-L-HD 7B", (1344, 336), [2904], id="DeepStack-L-HD, 4x1"),
        pytest.param("LLaVA-UHD 13B, 64 queries", (336, 336), [64], id="UHD, uncut"),
        pytest.param(
            "LLaVA-UHD 13B, 64 queries", (672, 1008), [64, ",", 64, "\n"] * 3 + [64], id="UHD, 672x1008: 454 in all"
        ),
        pytest.param(
            "LLaVA-UHD 13B, 144 queries", (672, 1008), [144, ",", 144, "\n"] * 3 + [144], id="UHD, 1014 in all"
        ),
        pytest.param(
            "LLaVA-UHD 13B, 144 queries", (336, 2400), [144, "\n"] * 7 + [144], id="UHD, the most: 1159 in all"
        ),
        pytest.param("LLaVA-UHD v2 7B", (672, 1008), [144, ",", 144, "\n"] * 3 + [144], id="UHD v2"),
        pytest.param("LLaVA-UHD v3 7B", (1024, 1024), [17 * 17], id="UHD v3, 1024x1024 enlarged to 1360x1360"),
        pytest.param("LLaVA-UHD v3 7B", (1000, 3000), [11 * 33], id="UHD v3, 1000x3000"),
        pytest.param("LLaVA-UHD v3 7B", (1560, 1560), [19 * 19], id="UHD v3, the most"),
        pytest.param("ConvLLaVA 7B, 1536 pixels", (1000, 3000), [576], id="ConvLLaVA"),
        pytest.param("LLaVA-HR 7B, 1024 pixels", (1000, 3000), [1024], id="LLaVA-HR"),
        pytest.param("DeepSeek-VL 7B", (1000, 3000), [576], id="DeepSeek-VL"),
        pytest.param("Mixture of features 13B", (1000, 3000), [1152], id="mixture of features"),
        pytest.param("InternVL3 1B", (300, 900), ["<img>", 256, 256, 256, 256, "</img>"], id="InternVL3, 1x3"),
        pytest.param("InternVL3 1B", (448, 448), ["<img>", 256, "</img>"], id="InternVL3, one tile"),
        pytest.param("InternVL3 1B", (1280, 960), ["<img>", *[256] * 13, "</img>"], id="InternVL3, the most"),
        pytest.param("MiniCPM-V 4.6", (448, 448), ["<image>", 64, "</image>"], id="MiniCPM-V, uncut"),
        pytest.param(
            "MiniCPM-V 4.6",
            (448, 896),
            ["<image>", 66, "</image>", "<slice>", 64, "</slice>", "\n", "<slice>", 64, "</slice>"],
            id="MiniCPM-V, 1x2",
        ),
        pytest.param("Qwen3-VL 2B", (1000, 3000), ["<|vision_start|>", 31 * 94, "<|vision_end|>"], id="Qwen3-VL"),
        pytest.param("Vary-tiny", (1000, 3000), ["<img>", 256, "</img>"], id="Vary-tiny"),
        pytest.param("GOT-OCR 2.0, one view", (1000, 3000), ["<img>", 256, "</img>"], id="GOT-OCR 2.0"),
        pytest.param("GOT-OCR 2.0, 12 tiles", (2000, 1000), ["<img>", 256, 256, 256, "</img>"], id="GOT-OCR, tiles"),
        pytest.param("DeepSeek-OCR 2", (768, 700), [257], id="DeepSeek-OCR 2, small"),
        pytest.param("DeepSeek-OCR 2", (1654, 2339), [1121], id="DeepSeek-OCR 2, the most"),
        pytest.param("Vary-base 7B", (1000, 3000), ["<img>", 256, "</img>"], id="Vary-base"),
    ],
)
def test_tokens_of_a_picture(name, size, count):
    assert tokens(published.METHODS[name], *size) == count


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("convllava/7b", 768, 144),
        ("convllava/7b", 1024, 256),
        ("convllava/7b", 1536, 576),
        ("llava_hr/7b", 768, 576),
        ("llava_hr/7b", 1024, 1024),
        ("llava_hr/7b", 1536, 2304),
    ],
)
def test_tokens_at_other_resolutions(name, size, count):
    assert tokens(partial(published.network, name, changes={"plan.size": size, "max_length": 4096}), 1000, 3000) == [
        count
    ]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("LLaVA-NeXT 7B", (1920, 1080)),
        ("DeepStack-L-HD 7B", (336, 1008)),
        ("PLLaVA 7B, 16 frames", (1000, 3000)),
        ("LLaVA-UHD 13B, 144 queries", (336, 2400)),
        ("LLaVA-UHD v3 7B", (1000, 3000)),
        ("Vary-base 7B", (1000, 3000)),
        ("Mixture of features 13B", (1000, 3000)),
    ],
)
def test_the_tokens_made_are_those_counted(name, size):
    promised = tokens(published.METHODS[name], *size)
    found = cost(name, *size)
    assert found.visual == sum(item for item in promised if isinstance(item, int))
    assert found.visual + found.marks == sum(item if isinstance(item, int) else 1 for item in promised)


def by_products(language_model, length):
    """TFLOP of weights and of attention, and MiB of the cache in 16 bits, for a sequence of the given length."""
    embedded = torch.empty(1, length, language_model.config.hidden_size, device="meta")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        output = language_model(inputs_embeds=embedded, use_cache=True, logits_to_keep=1)
    cached = sum(layer.keys.numel() + layer.values.numel() for layer in output.past_key_values.layers)
    attention = counter.get_flop_counts()["Global"][torch.ops.aten.bmm]
    return (counter.get_total_flops() - attention) / 1e12, attention / 1e12, 2 * cached / MIB


def one_clip_block():
    return encoder_flops(partial(clip_vit_large_336, layers=LAST), 336) - encoder_flops(clip_vit_large_336, 336)


CONCATENATED = {
    "hi-res string, 4 x 576": {"overview": False},
    "concatenation, 5 x 576": {"overview": True},
}


@cache
def deepstack_cost(name):
    if name in CONCATENATED:
        merge = partial(SequenceMerge, **CONCATENATED[name])
        llava = partial(published.model, plan=DeepStackPlan(336), merge=merge)
        model = methods.built(lambda: llava(language_models.vicuna_7b()))
        return cost_of(model, [Size(672, 672)], text=methods.TEXT)
    return cost(name, 672, 672)


@pytest.mark.parametrize(
    ("name", "length", "weights", "attention", "views", "encoder", "projector", "total", "cache_mib"),
    [
        ("LLaVA-1.5 7B", 640, 8.29, 0.21, 1, 0.38, 0.02, 8.91, 320),
        ("DeepStack-L 7B", 640, 8.29, 0.21, 5, 1.91, 0.12, 10.53, 320),
        ("DeepStack-V 7B", 640, 8.29, 0.21, 5, 1.64, 0.02, 10.17, 320),
        ("hi-res string, 4 x 576", 2368, 30.67, 2.94, 5, 1.91, 0.12, 35.64, 1184),
        ("concatenation, 5 x 576", 2944, 38.13, 4.54, 5, 1.91, 0.12, 44.71, 1472),
    ],
)
def test_cost_of_deepstack(name, length, weights, attention, views, encoder, projector, total, cache_mib):
    """The reference runs all 24 blocks of CLIP, we run 23; DeepStack-V's figure also has 23."""
    found = deepstack_cost(name)
    spared = 0 if name == "DeepStack-V 7B" else views * one_clip_block()
    assert found.visual + methods.TEXT == length
    assert found.views == views
    of_weights, of_attention, mib = by_products(vicuna_7b(), length)
    assert (round(of_weights, 2), round(of_attention, 2), mib) == (weights, attention, cache_mib)
    assert found.flops.language_model / 1e12 == pytest.approx(of_weights + of_attention, rel=1e-12)
    assert round((found.flops.encoder + spared) / 1e12, 2) == encoder
    assert round(found.flops.connector / 1e12, 2) == projector
    assert round((found.flops.total + spared) / 1e12, 2) == total


def test_cost_of_deepstack_hd():
    """The published sum, 53.5, is that of rounded parts; unrounded it is closer to 53.6."""
    found = deepstack_cost("DeepStack-L-HD 7B")
    encoder, projector = found.flops.encoder + 25 * one_clip_block(), found.flops.connector
    assert (found.views, found.visual, found.stacked) == (25, 2928, 4 * 2928)
    assert (round(encoder / 1e12, 2), round(projector / 1e12, 2)) == (9.55, 0.60)
    *stacked, stacked_mib = by_products(vicuna_7b(), 2992)
    assert (round(sum(stacked), 1), stacked_mib) == (43.4, 1496)
    assert round((encoder + projector) / 1e12 + sum(stacked), 1) == 53.6
    *concatenated, concatenated_mib = by_products(vicuna_7b(), 5 * 2928 + methods.TEXT)
    assert (round(sum(concatenated), 1), concatenated_mib) == (303.8, 7352)
    assert round((encoder + projector) / 1e12 + sum(concatenated)) == 314


def test_what_deepstack_saves():
    """5.0 times in the language model, 4.2 times in all, 18 MiB of stacks; 18 % more than LLaVA-1.5."""
    llava, stacked, joined = (
        deepstack_cost(name) for name in ("LLaVA-1.5 7B", "DeepStack-L 7B", "concatenation, 5 x 576")
    )
    assert round(joined.flops.language_model / stacked.flops.language_model, 1) == 5.0
    spared = one_clip_block()
    whole = [each.flops.total + each.views * spared for each in (llava, stacked, joined)]
    assert round(whole[2] / whole[1], 1) == 4.2
    assert round(100 * (whole[1] / whole[0] - 1)) == 18
    assert (stacked.visual, stacked.stacked) == (576, 2304)
    assert 2 * stacked.stacked * 4096 / MIB == 18


def test_llava_13b_as_the_paper_of_uhd_counts():
    """15.50 TFLOP (arXiv 2403.11703, table 1): no text, logits of every token, all blocks of CLIP."""
    found = cost("LLaVA-1.5 13B", 672, 672)
    with torch.device("meta"):
        language_model = language_models.vicuna_13b()
        embedded = torch.empty(1, 576, 5120)
    read = flops(lambda: language_model(inputs_embeds=embedded, use_cache=True))
    assert round((read + found.flops.encoder + one_clip_block() + found.flops.connector) / 1e12, 2) == 15.50


@pytest.mark.parametrize(
    ("name", "beside", "billions"),
    [
        pytest.param("LLaVA-1.5 7B", 0, 12.08, id="LLaVA-1.5"),
        pytest.param("DeCo 7B", 12 * 24 * (24 + 12) * 1024, 3.02, id="DeCo"),
        pytest.param("Q-Former, 2 layers, 7B", 0, 3.76, id="Q-Former"),
        pytest.param("MMFuser 7B", 576 * (1024 + 4096) * 4096, 4.79, id="MMFuser"),
    ],
)
def test_multiply_adds_of_connectors(name, beside, billions):
    """Counted in the references, plus DeCo's averages, which are two products here, and MMFuser's MLP."""
    assert round((cost(name, 672, 672).flops.connector / 2 - beside) / 1e9, 2) == billions


@pytest.mark.parametrize(
    ("build", "size", "head", "billions"),
    [
        pytest.param(partial(clip_vit_large_336, layers=LAST), 336, 0, 191, id="CLIP L/14"),
        pytest.param(partial(siglip_vit_large_384, layers=LAST), 384, 2 * 576 * 1024**2, 192, id="SigLIP L/16"),
        pytest.param(partial(siglip_vit_so400m_384, layers=LAST), 384, 2 * 729 * 1152**2, 335, id="SigLIP so400m/14"),
        pytest.param(
            partial(siglip_tower, 768, 12, 12, 3072, 16, 224, layers=LAST),
            224,
            2 * 196 * 768**2,
            17.7,
            id="SigLIP B/16",
        ),
        pytest.param(dinov2_vit_large, 336, 0, 191, id="DINOv2 L/14"),
        pytest.param(convnext_large, 768, 0, 404, id="ConvNeXt-L, 768"),
        pytest.param(convnext_large, 1024, 0, 718, id="ConvNeXt-L, 1024"),
        pytest.param(convnext_large, 1536, 0, 1616, id="ConvNeXt-L, 1536"),
        pytest.param(convnext_xxlarge, 1024, 0, 3167, id="ConvNeXt-XXL, 1024"),
        pytest.param(partial(convnext_large, fifth_stage=True), 768, 0, 472, id="ConvLLaVA, 768"),
        pytest.param(partial(convnext_large, fifth_stage=True), 1024, 0, 839, id="ConvLLaVA, 1024"),
        pytest.param(partial(convnext_large, fifth_stage=True), 1536, 0, 1888, id="ConvLLaVA, 1536"),
    ],
)
def test_multiply_adds_of_encoders(build, size, head, billions):
    """Counted in the references; SigLIP's include a pooling head with keys and values of all patches."""
    digits = 1 if billions < 100 else 0
    assert round((encoder_flops(build, size) / 2 + head) / 1e9, digits) == billions


@pytest.mark.parametrize(("downsample", "billions"), [((), 486), ((512, 1024), 488)])
def test_multiply_adds_of_sam(downsample, billions):
    """Ours folds the relative positions into the product, so heads are wider than 64: by the rows and columns of the
    view in 4 global blocks, of a window in 8 others with 25 windows, in the products of queries with keys and of
    weights with values.
    """
    wider = 2 * 12 * (4 * 4096**2 * (64 + 64) + 8 * 25 * 196**2 * (14 + 14))
    counted = encoder_flops(partial(SamViTDet, downsample=downsample), 1024) / 2
    assert round((counted - wider) / 1e9) == billions


def test_a_picture_size_is_read_or_refused():
    assert picture_size("1000x3000") == (1000, 3000)
    for text in ("1000", "1000x", "x3000", "0x10", "-1x10", "1x2x3", "1.5x2"):
        with pytest.raises(argparse.ArgumentTypeError, match="WIDTHxHEIGHT"):
            picture_size(text)


def test_a_row_says_what_it_counts():
    found = Cost(
        views=7,
        visual=448,
        marks=6,
        stacked=12,
        parameters=Parts(290_900_000, 1_000_000, 13_000_000_000),
        flops=Parts(2_000_000_000_000, 7_000_000_000, 9_123_000_000_000),
    )
    assert methods.row("it", found) == (
        "| it | 7 | 448 + 12 stacked + 6 marks | 290.9 M | 1.0 M | 13000 M | 2.00 | 0.007 | 9.12 | 11.13 |"
    )


def test_the_command_prints_a_table_for_every_picture(monkeypatch, capsys):
    name = "Vary-tiny"
    monkeypatch.setattr(methods, "METHODS", {name: published.METHODS[name]})
    monkeypatch.setattr("sys.argv", ["methods", "--image", "1000x3000", "672x672"])
    methods.main()
    printed = capsys.readouterr().out
    assert printed.count(methods.row(name, cost(name, 1000, 3000))) == 2
    assert "1000x3000 pixels" in printed
    assert "672x672 pixels" in printed


@pytest.mark.slow
def test_the_page_has_the_tables_of_today():
    """`python -m tools.bench.methods --write` writes it."""
    page = methods.PAGE.read_text(encoding="utf-8")
    assert methods.page(page) == page


def test_the_page_has_every_method_and_its_sizes():
    """Check the rows of the page that need no FLOP counts; the slow test checks all of it."""
    page = methods.PAGE.read_text(encoding="utf-8").partition("672x672")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    sizes = {re.sub(r"\[(.*)\]\(.*\)", r"\1", name): cells for name, _, _, *cells in rows if name}
    assert list(sizes) == list(published.METHODS)
    for name, cells in sizes.items():
        found = parts(name)
        expected = [f"{found.encoder / 1e6:.1f} M", f"{found.connector / 1e6:.1f} M"]
        assert cells[:3] == [*expected, f"{found.language_model / 1e6:.0f} M"]


def test_a_picture_that_a_method_refuses(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["methods", "--image", "1x900000"])
    with pytest.raises(SystemExit):
        methods.main()
    assert "1x900000 pixels is too long" in capsys.readouterr().err

"""Parameters of the published connectors, counted on the meta device.

The common example is an encoder of width 1024 with 24x24 patches, a language model with 4096 channels and, where the
number of tokens affects the parameters, 144 tokens. The figures were counted in the reference implementation that each
line names; where a figure is split up, its parts follow from the published sizes.
"""

from functools import partial

import pytest
import torch

from foveal.connectors import (
    AdaptivePool,
    Average,
    CAbstractor,
    Chain,
    ConcatChannels,
    ConcatTokens,
    ConvPool,
    DAbstractor,
    DenseConnector,
    FlamingoPerceiver,
    HiwinAttention,
    HoneybeeResampler,
    Idefics2Perceiver,
    LdpV2,
    MlpProjector,
    MMFuser,
    Parallel,
    PatchMerger,
    PerceiverResampler,
    PixelShuffle,
    Pool,
    QFormer,
    SpaceTimePool,
    SpatialResampler,
    SplitMlp,
    StridedPool,
    TokenPacker,
)

MLP = 20_979_712
POSITIONS = 24 * 24 * 1024
LINEAR = partial(MlpProjector, depth=1)


def count(build):
    with torch.device("meta"):
        return sum(weight.numel() for weight in build().parameters())


def linear(before, after):
    return before * after + after


@pytest.mark.parametrize(
    ("figure", "build"),
    [
        pytest.param(4_198_400, lambda: LINEAR(1024, 4096), id="LLaVA linear"),
        pytest.param(MLP, lambda: MlpProjector(1024, 4096), id="LLaVA-1.5 mlp2x_gelu"),
        pytest.param(31_467_520, lambda: MlpProjector(1024, 5120), id="LLaVA-1.5 13B mlp2x_gelu"),
        pytest.param(MLP, lambda: AdaptivePool(1024, 4096), id="DeCo"),
        pytest.param(33_570_816, lambda: PixelShuffle(1024, 4096), id="InternVL pixel shuffle"),
        pytest.param(25_174_016, lambda: PatchMerger(1024, 2048), id="Qwen3-VL 2B merger"),
        pytest.param(25_180_160, lambda: PatchMerger(1024, 2048, norm_blocks=True), id="Qwen3-VL 2B deep merger"),
        pytest.param(33_564_672, lambda: PatchMerger(1024, 4096), id="patch merger"),
        pytest.param(25_967_104, lambda: PatchMerger(1152, 1024, norm_blocks=True), id="MiniCPM-V 4.6 merger"),
        pytest.param(33_562_624, lambda: ConvPool(1024, 4096), id="LLaVA-NeXT pooler"),
        pytest.param(21_020_672, lambda: LdpV2(1024, 4096), id="MobileVLM V2 LDPv2"),
        pytest.param(37_398_016, lambda: CAbstractor(1024, 4096), id="Honeybee C-Abstractor"),
        pytest.param(55_944_032, lambda: DAbstractor(1024, 4096), id="Honeybee D-Abstractor"),
        pytest.param(
            106_224_640 + POSITIONS,
            lambda: HoneybeeResampler(1024, 4096, queries=144),
            id="Honeybee resampler, with its optional positions",
        ),
        pytest.param(20_194_816, lambda: QFormer(1024, 4096, queries=144, depth=2), id="DeCo's Q-Former of 2 layers"),
        pytest.param(104_859_136, lambda: QFormer(1024, 4096, queries=144), id="BLIP-2 Q-Former"),
        pytest.param(67_299_328, lambda: FlamingoPerceiver(1024, 4096, num_latents=144), id="Flamingo, linear"),
        pytest.param(739_876_864, lambda: Idefics2Perceiver(1024, 4096, num_latents=144), id="Idefics2"),
        pytest.param(89_300_992, lambda: PerceiverResampler(1024, 4096, queries=144, heads=32), id="Qwen-VL"),
        pytest.param(36_722_688, lambda: TokenPacker((1024,) * 5, 4096), id="TokenPacker"),
        pytest.param(5_190_592, lambda: MMFuser((1024,) * 5), id="MMFuser"),
        pytest.param(
            5_190_592 + MLP,
            lambda: Chain((1024,) * 5, 4096, stages=[MMFuser], last=MlpProjector),
            id="MMFuser and its MLP",
        ),
        pytest.param(
            4_198_400,
            lambda: Parallel((1024, 1024), 4096, branches=[LINEAR, LINEAR]),
            id="Vary's two linear layers, 1024 to 2048 each",
        ),
    ],
)
def test_parameters_are_those_published(figure, build):
    assert count(build) == figure


@pytest.mark.parametrize(
    ("millions", "build"),
    [
        pytest.param(137.84, lambda: SpatialResampler(1024, 5120, queries=144, heads=40), id="144 queries"),
        pytest.param(137.02, lambda: PerceiverResampler(1024, 5120, queries=64, heads=40), id="64 queries"),
    ],
)
def test_llava_uhd_13b(millions, build):
    """LLaVA-UHD's code, with the position table, which is not trained by default."""
    assert round(count(build) / 1e6, 2) == millions


def test_llava_uhd_v2_taken_apart():
    """LLaVA-UHD v2's code at 7B: four sets of 144 queries, a table, two maps, nine square matrices and four norms."""
    width = 4096
    queries, maps = 5 * 144 * width, 2 * (linear(1024, width) + width)
    matrices = 3 * linear(width, width) + linear(width, width) + linear(4 * width, width) + width * width
    figure = queries + maps + matrices + 4 * 2 * width
    assert count(lambda: HiwinAttention((1024, 1024), width, queries=144, heads=32)) == figure == 162_402_304


def test_idefics2_taken_apart():
    """Idefics2 with its 64 latents: 88.1 M parameters in the first MLP, 651.5 M in the perceiver."""
    with torch.device("meta"):
        connector = Idefics2Perceiver(1024, 4096)
    first = sum(weight.numel() for weight in connector.modality.parameters())
    assert round(first / 1e6, 1) == 88.1
    assert round((count(lambda: connector) - first) / 1e6, 1) == 651.5


@pytest.mark.parametrize(
    ("build", "per_layer"),
    [
        pytest.param(lambda depth: CAbstractor(1024, 4096, depth=depth), 2 * 2_638_080, id="C-Abstractor"),
        pytest.param(lambda depth: DAbstractor(1024, 4096, depth=depth), 8_501_344, id="D-Abstractor"),
        pytest.param(
            lambda depth: QFormer(1024, 4096, depth=depth, cross_every=100), 7_087_872, id="Q-Former, queries alone"
        ),
        pytest.param(
            lambda depth: QFormer(1024, 4096, depth=depth, cross_every=1),
            7_087_872 + 2_757_120,
            id="Q-Former, looking at the features",
        ),
    ],
)
def test_one_layer(build, per_layer):
    """Honeybee's blocks (one before and one after the averaging) and layers, and BLIP-2's layers."""
    assert count(lambda: build(3)) - count(lambda: build(2)) == per_layer


def test_mmfuser_taken_apart():
    """MMFuser's code, 4 maps and the query: cross attention 2,886,400, self-attention 2,296,000, norms, two scales."""
    with torch.device("meta"):
        fuser = MMFuser((1024,) * 5)
    sizes = {}
    for name, weight in fuser.named_parameters():
        part = name.split(".")[0]
        sizes[part] = sizes.get(part, 0) + weight.numel()
    assert sizes["cross_attention"] == 2_886_400
    assert sizes["self_attention"] == 2_296_000
    assert sizes["query_norm"] + sizes["map_norm"] + sizes["self_norm"] == 6_144
    assert sizes["fused_scale"] + sizes["self_scale"] == 2_048


@pytest.mark.parametrize(
    "stage",
    [
        Average,
        ConcatChannels,
        ConcatTokens,
        partial(DenseConnector, kind="sti"),
        partial(DenseConnector, kind="sci"),
        DenseConnector,
    ],
)
def test_fusers_without_parameters(stage):
    """Dense Connector (arXiv 2405.13800) and the plain fusers only rearrange: only the MLP after them is trained."""
    with torch.device("meta"):
        fuser = stage((1024,) * 4)
    assert count(lambda: fuser) == 0
    behind = count(lambda: Chain((1024,) * 4, 4096, stages=[stage], last=MlpProjector))
    assert behind == linear(fuser.out_width, 4096) + linear(4096, 4096)


@pytest.mark.parametrize(("kind", "maps", "width"), [("sti", 3, 1024), ("sci", 3, 3072), ("dci", 24, 3072)])
def test_dense_connector_and_its_mlp(kind, maps, width):
    """Dense Connector's code: the MLP's input is one encoder width (sti) or three (sci, dci)."""

    def build():
        return Chain((1024,) * maps, 4096, stages=[partial(DenseConnector, kind=kind)], last=MlpProjector)

    assert count(build) == linear(width, 4096) + linear(4096, 4096)


def test_pools_have_no_parameters():
    assert count(lambda: Pool(1024)) == count(lambda: StridedPool(1024)) == 0


def test_video_costs_what_the_mlp_costs():
    """PLLaVA (arXiv 2404.16994) starts from LLaVA-NeXT's MLP and adds nothing."""
    assert count(lambda: SpaceTimePool((1024,) * 16, 4096)) == MLP


def test_deepseek_vl():
    """DeepSeek-VL's sizes: 1024 to 2048 for each tower, then 4096 to 4096."""
    assert count(lambda: SplitMlp((1024, 1024), 4096)) == 2 * linear(1024, 2048) + linear(4096, 4096)

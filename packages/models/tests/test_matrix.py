"""Plans x merges x encoders x connectors: every combination either trains or is refused with the reason."""

import inspect
import random
import re
from collections import Counter
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import foveal.connectors
import foveal.encoders
import foveal.models
from foveal.connectors import (
    AdaptivePool,
    Average,
    CAbstractor,
    Chain,
    ConcatChannels,
    ConcatTokens,
    Connector,
    ConvPool,
    DAbstractor,
    DenseConnector,
    FlamingoPerceiver,
    HiwinAttention,
    HoneybeeResampler,
    Idefics2Perceiver,
    Identity,
    LdpV2,
    MlpProjector,
    MMFuser,
    Norm,
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
from foveal.core import Size
from foveal.encoders import (
    CausalFlowEncoder,
    ConvNeXt,
    EarlyCompressionViT,
    Encoder,
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
from foveal.models import (
    IMAGE_TOKEN_ID,
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
    Merge,
    MiniCpmPlan,
    NativePlan,
    OneVisionMerge,
    OneVisionPlan,
    PadToSquare,
    SeparatorMerge,
    SequenceMerge,
    StretchToSquare,
    Turn,
    UhdPlan,
    UhdV3Plan,
    VaryPlan,
    Video,
    VideoPlan,
    ViewPlan,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
)
from foveal.models.views.minicpm import MARKS

WIDTH = 32
SIDE = 64
"""Pixels along one side of a view; the encoders have cells of 16, 32 or 64."""

PLANS = {
    "square": PadToSquare(SIDE),
    "crop": CropToSquare(SIDE),
    "stretch": StretchToSquare(SIDE),
    "native": NativePlan(SIDE, SIDE * SIDE, 9 * SIDE * SIDE, start="<img>", end="</img>"),
    "uhd": UhdPlan(SIDE, 16, 4),
    "uhd_whole_cells": UhdPlan(2 * SIDE, SIDE, 4),
    "uhd_first": UhdPlan(SIDE, 16, 4, overview="first", separators=False),
    "minicpm": MiniCpmPlan(SIDE, 32, 4),
    "uhd_v3": UhdV3Plan(SIDE, 2 * SIDE, smallest=SIDE, longest=4 * SIDE),
    "anyres": AnyResPlan(SIDE),
    "onevision": OneVisionPlan(SIDE, [(1, 2), (2, 1), (2, 2)]),
    "deepstack": DeepStackPlan(SIDE),
    "deepstack_together": DeepStackPlan(SIDE, square=True, together=True),
    "deepstack_hd": DeepStackHdPlan(SIDE),
    "deepseek_ocr2": DeepSeekOcr2Plan(2 * SIDE, SIDE, 4),
    "dynamic_tiles": DynamicTilesPlan(SIDE, 4),
    "dynamic_tiles_enclosed": DynamicTilesPlan(SIDE, 2, start="<img>", end="</img>", enclose_together=True),
    "vary_tiny": VaryPlan(2 * SIDE),
    "vary_base": VaryPlan(2 * SIDE, SIDE),
    "marked": MarkedPlan(PadToSquare(SIDE), start="<img>", end="</img>"),
    "video": VideoPlan(CropToSquare(SIDE), frames=4),
}
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
LEVELS = ("clip_layers", "parallel_levels")
"""An encoder and a connector of several levels."""

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

POOL = {"rows": 2, "columns": 3}
ABSTRACTOR = POOL | {"base_grid": (4, 4), "hidden_width": 16}
D_ABSTRACTOR = ABSTRACTOR | {"depth": 1, "heads": 2, "points": 2, "mlp_width": 24}
Q_FORMER = {"queries": 4, "hidden_width": 16, "depth": 2, "heads": 2, "mlp_width": 24, "dropout": 0.0}
FLAMINGO = {"num_latents": 4, "depth": 1, "heads": 2, "head_width": 8}
FUSER = partial(MMFuser, heads=2, points=2)


def chain(*stages, last=MlpProjector):
    return partial(Chain, stages=stages, last=last)


CONNECTORS = {
    "joined_layers": partial(Chain, stages=[ConcatChannels, Norm], last=MlpProjector),
    "identity": partial(Chain, stages=[ConcatChannels], last=Identity),
    "linear": partial(MlpProjector, depth=1),
    "mlp": MlpProjector,
    "mlp_class_token": partial(MlpProjector, prefix_tokens=1),
    "adaptive_pool": partial(AdaptivePool, **POOL),
    "ldp_v2": partial(LdpV2, **POOL),
    "space_time_pool": partial(SpaceTimePool, slots=2, **POOL),
    "pixel_shuffle": PixelShuffle,
    "patch_merger": PatchMerger,
    "conv_pool": ConvPool,
    "c_abstractor": partial(CAbstractor, **ABSTRACTOR, depth=1),
    "c_abstractor_ended": partial(CAbstractor, **ABSTRACTOR, depth=1, num_end_tokens=1),
    "d_abstractor": partial(DAbstractor, **D_ABSTRACTOR),
    "d_abstractor_maps": partial(DAbstractor, **D_ABSTRACTOR, pooled="none"),
    "honeybee_resampler": partial(
        HoneybeeResampler, queries=4, base_grid=(4, 4), hidden_width=16, depth=1, heads=2, mlp_width=24
    ),
    "q_former": partial(QFormer, **Q_FORMER),
    "q_former_class_token": partial(QFormer, **Q_FORMER, prefix_tokens=1),
    "flamingo": partial(FlamingoPerceiver, **FLAMINGO),
    "flamingo_frames": partial(FlamingoPerceiver, **FLAMINGO, num_frames=4),
    "idefics2": partial(Idefics2Perceiver, num_latents=4, depth=1, heads=2, head_width=8, key_heads=1, mlp_width=24),
    "perceiver": partial(PerceiverResampler, queries=4, heads=2),
    "spatial_resampler": partial(SpatialResampler, queries=4, heads=2),
    "hiwin": partial(HiwinAttention, queries=4, heads=2),
    "token_packer": partial(TokenPacker, hidden_width=16, heads=2),
    "split_mlp": SplitMlp,
    "parallel_channels": partial(Parallel, branches=[MlpProjector] * 2),
    "parallel_pools": partial(Parallel, branches=[partial(AdaptivePool, **POOL)] * 2),
    "parallel_tokens": partial(Parallel, branches=[partial(QFormer, **Q_FORMER), MlpProjector], join="tokens"),
    "parallel_interleave": partial(Parallel, branches=[MlpProjector] * 2, join="interleave"),
    "parallel_levels": partial(Parallel, branches=[PixelShuffle] * 4, join="levels"),
    "mmfuser": chain(FUSER),
    "mmfuser_global": chain(partial(FUSER, attention="global")),
    "mmfuser_reduced": chain(partial(FUSER, attention="linear_sra", use_self_attention=False)),
    "average": chain(Average),
    "average_learned": chain(partial(Average, learn_shares=True)),
    "channels": chain(ConcatChannels),
    "tokens": chain(ConcatTokens),
    "tokens_q_former": chain(ConcatTokens, last=partial(QFormer, **Q_FORMER)),
    "dense_sti": chain(partial(DenseConnector, kind="sti")),
    "dense_sci": chain(partial(DenseConnector, kind="sci")),
    "dense_dci": chain(DenseConnector),
    "dense_resampler": chain(DenseConnector, last=partial(SpatialResampler, queries=4, heads=2)),
    "pool": chain(partial(Pool, **POOL)),
    "strided_pool": chain(StridedPool),
    "strided_max": chain(partial(StridedPool, mode="max")),
    "strided_bilinear": chain(partial(StridedPool, mode="bilinear")),
}

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
REASONS = {
    "views seen together": r"looks at \d+ views together, \w+ makes sets of \d+",
    "number of maps": (
        r"returns one map|connector takes one:|maps of widths .*: at most|branches for \d+ maps|for \d+ maps none"
    ),
    "widths": r"must have one width|cannot enter a language model",
    "class token": r"prefix tokens before its grid|has no class token",
    "plane": r"do not form a grid|form a plane",
    "texts between views": r"puts texts or another order between them",
    "number of views": r"takes (\d+ views for \d+x\d+ tiles|one view of a picture), the plan makes \d+",
    "levels": r"levels of tokens",
    "number of tokens": r"give \[.*\] tokens|becomes \d+ tokens or more",
    "grids": r"grids? |maps of one grid|cut into patches|on different grids: ",
}
"""Every kind of refusal, by what its message says; none is of two kinds."""


def picture(width, height, seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


class Workshop:
    """Encoders and a language model shared by all combinations."""

    def __init__(self):
        self.encoders = {name: shaken(build()) for name, build in ENCODERS.items()}
        self.tokenizer = byte_tokenizer(["<img>", "</img>", *MARKS])
        rows = len(self.tokenizer)
        self.language_model = shaken(llama(rows, width=WIDTH, depth=6, heads=4, mlp_width=48, context=1000))

    def built(self, plan, merge, encoder, connector):
        """A model of the named parts, or the kind of reason why they are refused."""
        try:
            return VisionLanguageModel(
                self.encoders[encoder],
                CONNECTORS[connector],
                self.language_model,
                self.tokenizer,
                PLANS[plan],
                merge=MERGES[merge],
                system="",
                max_length=1000,
            )
        except ValueError as error:
            return kind_of(str(error))

    def takes(self, *names):
        return isinstance(self.built(*names), VisionLanguageModel)


def kind_of(message):
    kinds = [kind for kind, words in REASONS.items() if re.search(words, message)]
    assert len(kinds) == 1, f"{message}: of kinds {kinds}"
    return kinds[0]


@pytest.fixture(scope="module")
def workshop():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Workshop()


def shaken(part):
    """Move weights away from zeros and scales of 1e-6, which would hide gradients."""
    with torch.no_grad():
        for weight in part.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)
    return part


PICTURES = (picture(150, 90, 1), picture(60, 200, 2))


def check_training(model, pictures=PICTURES):
    """One step on two pictures with a row of text between them: token counts as announced, gradients everywhere."""
    model.zero_grad()
    for part in (model.connector, model.merge):
        if part is not None:
            shaken(part)
    # Frames of a still picture are equal, which leaves nothing to learn for what tells them apart.
    moves = model.processor.plan.frames is not None
    first, second = (Video([each, ImageOps.flip(each)]) if moves else each for each in pictures)
    answered = [
        model.processor.encode(of_row, [Turn("user", question), Turn("assistant", "An answer.")])
        for of_row, question in (([first], "<image>\nWhat?"), ([], "Hello?"), ([second], "So <image> is?"))
    ]
    batch = model.processor.collate(answered)
    seen, merged = [], model.merged
    model.merged = lambda views, sizes: seen.extend(merged(views, sizes)) or seen
    loss = model.loss(batch)
    (loss.total / loss.tokens).backward()

    runs = [item for each in pictures for item in model.processor.count(Size.of(each.size)) if isinstance(item, int)]
    assert [len(each.tokens) for each in seen] == runs
    assert int((batch.input_ids == IMAGE_TOKEN_ID).sum()) == sum(runs)
    assert loss.total.isfinite()
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        assert weight.grad is not None, f"{name} has no gradient"
        assert weight.grad.isfinite().all(), f"{name} has a gradient that is not finite"
        # A softmax over the only cell of a map, and the bias of keys, have zero gradients up to rounding errors; and
        # so has a table of queries for views of another size.
        attends = name.startswith("connector.") and ("query" in name or "key" in name)
        # Deformable attention samples points; on maps of few cells all of them may lie beside a map, and nothing that
        # made the map, or looks at it, is then learnt.
        around = ("encoder.", "position", "reference_points", "in_projections", "cross_attention")
        sampled = isinstance(model.connector, DAbstractor) and any(part in name for part in around)
        if not attends and not sampled and not name.startswith("encoder.queries."):
            assert weight.grad.any(), f"{name} has a gradient of zero"


def check(workshop, *names):
    """Train the model of the named parts; return the kind of reason if it is refused.

    Raises:
        Exception: with the names, if the combination is neither refused nor trains.
    """
    try:
        built = workshop.built(*names)
        if isinstance(built, str):
            return built
        check_training(built)
    except Exception as error:
        error.add_note(" x ".join(names))
        raise
    return None


def covering(workshop, encoder):
    """Enough working combinations with `encoder` to include every method and every connector that works with it."""
    rest = [(plan, merge, connector) for plan, merge in METHODS for connector in CONNECTORS]
    random.Random(encoder).shuffle(rest)
    methods, connectors = set(), set()
    for plan, merge, connector in rest:
        new = (plan, merge) not in methods or connector not in connectors
        if new and workshop.takes(plan, merge, encoder, connector):
            methods.add((plan, merge))
            connectors.add(connector)
            yield plan, merge, encoder, connector


def public(module, kind):
    """The names of the public classes of a kind."""
    classes = {name: getattr(module, name) for name in module.__all__ if inspect.isclass(getattr(module, name))}
    return {name for name, of in classes.items() if issubclass(of, kind) and not inspect.isabstract(of)}


def names_in(modules, kind):
    return {type(module).__name__ for module in modules if isinstance(module, kind)}


def test_every_public_part_is_in_the_matrix(workshop):
    """Every new part needs a line in its table above."""
    assert names_in(PLANS.values(), ViewPlan) == public(foveal.models, ViewPlan)
    merges = [build(WIDTH) for build in MERGES.values() if build is not None]
    assert names_in(merges, Merge) == public(foveal.models, Merge)
    encoders = [module for encoder in workshop.encoders.values() for module in encoder.modules()]
    assert names_in(encoders, Encoder) == public(foveal.encoders, Encoder)
    built = []
    for build in CONNECTORS.values():
        for widths in (16, (16, 16)):
            try:
                built += build(widths, WIDTH).modules()
            except ValueError:
                continue
    assert names_in(built, Connector) == public(foveal.connectors, Connector)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("plan", PLANS)
def test_plan_with_merge(workshop, plan, merge):
    encoder, connector = {
        1: LEVELS if merge == "levels" else ("clip", "mlp"),
        2: ("parallel_two_views", "parallel_channels"),
        4: ("frames", "space_time_pool"),
        5: ("stacked", "mlp"),
    }[PLANS[plan].inputs]
    kind = check(workshop, plan, merge, encoder, connector)
    assert kind is None or merge != "none"
    assert (plan, merge) not in METHODS or kind is None


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoder_with_methods_and_connectors(workshop, encoder):
    combinations = list(covering(workshop, encoder))
    assert combinations
    for names in combinations:
        check(workshop, *names)


@pytest.mark.parametrize("connector", CONNECTORS)
def test_connector_works_somewhere(workshop, connector):
    assert any(workshop.takes(plan, merge, encoder, connector) for plan, merge in METHODS for encoder in ENCODERS)


@pytest.mark.parametrize("names", SENSIBLE, ids="-".join)
def test_sensible_combination(workshop, names):
    assert check(workshop, *names) is None


@pytest.mark.parametrize(("names", "kind"), REFUSED.items(), ids=["-".join(names) for names in REFUSED])
def test_reason(workshop, names, kind):
    assert workshop.built(*names) == kind


@pytest.mark.parametrize("stage", [Average, ConcatChannels, ConcatTokens, DenseConnector, MMFuser, Pool, StridedPool])
def test_a_stage_is_no_connector(workshop, stage):
    """A stage keeps the encoder's width: a projector has to follow."""
    encoder = workshop.encoders["clip" if stage in (Pool, StridedPool) else "clip_layers"]
    with pytest.raises(ValueError, match=stage.__name__):
        VisionLanguageModel(encoder, stage, workshop.language_model, workshop.tokenizer, PLANS["square"])


@pytest.mark.parametrize(("plan", "merge"), METHODS, ids=["-".join(method) for method in METHODS])
def test_extreme_pictures(workshop, plan, merge):
    """A single pixel, and pictures longer than the map has cells; NativePlan takes none as long."""
    encoder, connector = {
        1: LEVELS if merge == "levels" else ("siglip", "linear"),
        2: ("parallel_two_views", "split_mlp"),
        4: ("frames", "space_time_pool"),
        5: ("stacked", "spatial_resampler"),
    }[PLANS[plan].inputs]
    long = 400 if plan == "native" else 500
    for pictures in ((picture(1, 1, 3), picture(long, 2, 4)), (picture(2, long, 5), picture(65, 64, 6))):
        check_training(workshop.built(plan, merge, encoder, connector), pictures)


@pytest.mark.slow
def test_everything_with_everything(workshop):
    outcomes, failed = {}, []
    for names in product(PLANS, MERGES, ENCODERS, CONNECTORS):
        try:
            outcomes[names] = check(workshop, *names)
        except Exception as error:
            failed.append(f"{' x '.join(names)}: {error!r}")
    print(dict(Counter(kind or "works" for kind in outcomes.values())))
    assert not failed, "\n".join(failed)
    assert set(outcomes.values()) == {None, *REASONS}
    working = [names for names, kind in outcomes.items() if kind is None]
    for number, table in enumerate((PLANS, MERGES, ENCODERS, CONNECTORS)):
        assert {names[number] for names in working} == set(table)

"""The promises of every encoder, tested without reference data."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import foveal.encoders
from foveal.core import Grid, Size, build, describe, tables_of
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
    intern_vit_tower,
    siglip_tower,
)
from foveal.encoders.dinov2 import dinov2_tower


def clip(**options):
    return VisionTransformer(16, 3, 2, 24, 4, 16, **options)


def siglip(**options):
    return siglip_tower(16, 2, 2, 24, 4, 18, **options)


def dinov2(**options):
    return dinov2_tower(12, 2, 2, 16, 8, 24, **options)


def intern_vit(**options):
    return intern_vit_tower(16, 2, 2, 24, 4, 16, norm="rms", qkv_bias=False, norm_queries=True, **options)


def sam(**options):
    sizes = {"window": 3, "global_blocks": (1,), "neck_width": 8, "downsample": (12, 16)}
    return SamViTDet(16, 3, 2, 4, 24, **sizes | options)


def convnext(**options):
    return ConvNeXt((4, 8, 8, 12), (1, 1, 2, 1), **options)


def llava_hr(**options):
    fast = VisionTransformer(16, 4, 2, 24, 4, 16, layers=(-1,), antialias=True)
    return MixtureOfResolution(fast, convnext(), fast_size=16, **options)


def deepseek_vl():
    return SamSiglipHybrid(sam(), siglip_tower(12, 2, 2, 16, 4, 12, layers=(-1,), use_final_norm=True))


def early_compression(**options):
    return EarlyCompressionViT(16, 3, 2, 24, 4, 24, **{"compress_after": 1} | options)


def qwen3_vl(**options):
    return Qwen3VisionTransformer(16, 3, 2, 24, 4, 16, **options)


def causal_flow():
    return CausalFlowEncoder(sam(), 2, 4, 2, 24, query_sides=(1, 3, 2))


def pairs(*sides):
    return tuple(Size(width, height) for height, width in product(sides, sides))


@dataclass(frozen=True)
class Case:
    """An encoder and sizes of views in pixels.

    Args:
        build: makes the encoder.
        sizes: sizes that it takes; the last is the native one, the one before it is oblong.
        refused: sizes that it refuses.
        one_size: whether all views that are encoded together have one size.
    """

    build: Callable[[], Encoder]
    sizes: tuple[Size, ...]
    refused: Size
    one_size: bool = False

    def encoder(self):
        """The same weights in every call; away from values such as 0, which could hide a fault."""
        torch.manual_seed(0)
        encoder = self.build().eval()
        with torch.no_grad():
            for weight in encoder.parameters():
                weight += 0.1 * torch.randn_like(weight)
        return encoder

    def views(self):
        """Two views for each input, taller or wider than the native one."""
        return views_of(self.sizes[-2:-1] * self.encoder().inputs)

    def together(self):
        """Sizes of the views that are encoded together."""
        inputs, size = self.encoder().inputs, st.sampled_from(self.sizes)
        return size.map(lambda one: (one,) * inputs) if self.one_size else st.tuples(*[size] * inputs)


CASES = {
    "clip": Case(lambda: clip(layers=(1, -1)), pairs(4, 8, 20, 16), Size(18, 16)),
    "clip_class_token": Case(lambda: clip(keep_class_token=True), pairs(4, 8, 20, 16), Size(16, 18)),
    "siglip": Case(
        lambda: siglip(layers=(0, -1), use_final_norm=True), (*pairs(4, 8, 16), Size(8, 16), Size(18, 18)), Size(16, 18)
    ),
    "dinov2": Case(lambda: dinov2(num_registers=2), pairs(8, 32, 24), Size(12, 8)),
    "dinov2_swiglu": Case(lambda: dinov2(activation="swiglu"), pairs(8, 32, 24), Size(12, 8)),
    "intern_vit": Case(intern_vit, pairs(4, 8, 20, 16), Size(18, 16)),
    "qwen3_vl": Case(lambda: qwen3_vl(layers=(-1, 0, 2)), pairs(4, 8, 20, 16), Size(18, 16)),
    "sam": Case(lambda: sam(downsample=(), antialias=False), pairs(4, 8, 28, 24), Size(26, 24)),
    "vary": Case(sam, pairs(4, 8, 20, 36, 24), Size(24, 26)),
    "convnext": Case(lambda: convnext(layers=(0, 1, 2, 3, 4)), pairs(32, 64, 96), Size(48, 32)),
    "convnext_shallow": Case(lambda: convnext(layers=(2,)), pairs(8, 16, 24), Size(12, 8)),
    "convnext_five": Case(lambda: ConvNeXt((4, 4, 8, 8, 12), (1,) * 5), pairs(64, 128), Size(96, 64)),
    "llava_hr": Case(llava_hr, pairs(32, 64, 160, 128), Size(128, 96)),
    "llava_hr_first_stage": Case(lambda: llava_hr(adapters=False), pairs(32, 64, 160, 128), Size(144, 128)),
    "parallel": Case(lambda: ParallelEncoder([clip(), sam()]), pairs(4, 8, 20, 16), Size(18, 16)),
    "one_view": Case(
        lambda: ParallelEncoder([clip(layers=(0, -2)), dinov2(), convnext(layers=(2,))], one_view=True),
        pairs(8, 16, 24),
        Size(12, 16),
    ),
    "frames": Case(
        lambda: FrameEncoder(clip(keep_class_token=True), frames=3), pairs(4, 8, 20, 16), Size(18, 16), one_size=True
    ),
    "frames_packed": Case(
        lambda: FrameEncoder(MoonViT(16, 2, 2, 24, 4, 16), frames=2), pairs(4, 8, 20, 16), Size(18, 16), one_size=True
    ),
    "deepseek_vl": Case(deepseek_vl, pairs(4, 16, 28, 24), Size(26, 24)),
    "causal_flow": Case(causal_flow, (Size(4, 4), Size(36, 36), Size(24, 24)), Size(26, 24)),
    "pyramid": Case(
        lambda: InverseSemanticPyramid(siglip(layers=(-1,)), scales=(1, 2, 4)), pairs(4, 8, 20, 16), Size(18, 16)
    ),
    "moonvit": Case(lambda: MoonViT(16, 2, 2, 24, 4, 16), pairs(4, 8, 20, 16), Size(18, 16)),
    "vit_uhd": Case(lambda: MoonViT(16, 3, 2, 24, 4, 16, compress_after=(1, 3)), pairs(16, 48, 32), Size(8, 16)),
    "vit_uhd_mean": Case(
        lambda: MoonViT(16, 2, 2, 24, 2, 8, compress_after=(1,), compression="mean"), pairs(4, 8, 20, 16), Size(18, 16)
    ),
    "early_compression": Case(early_compression, pairs(8, 16, 40, 24), Size(20, 16)),
    "early_compression_last": Case(lambda: early_compression(compress_after=3), pairs(8, 16, 40, 24), Size(20, 16)),
    "early_compression_off": Case(lambda: early_compression(compress_after=None), pairs(4, 16, 28, 24), Size(20, 18)),
    "deepstack_v": Case(
        lambda: StackedVisionTransformer(VisionTransformer(16, 4, 2, 24, 4, 16, layers=(-1,)), start=0),
        pairs(4, 8, 20, 16),
        Size(18, 16),
        one_size=True,
    ),
    "deepstack_v_post": Case(
        lambda: StackedVisionTransformer(dinov2(num_registers=1), start=1, crops=4, post_blocks=3),
        pairs(8, 32, 24),
        Size(12, 8),
        one_size=True,
    ),
}
MAPS: set[str] = set()
"""Matrices that are parameters of a module of ours, and no tables."""
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
SEVERAL = pytest.mark.parametrize("name", ["parallel", "deepstack_v"])


def views_of(sizes):
    return [torch.randn(2, 3, size.height, size.width) for size in sizes]


def close(ours, reference):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


@EVERY
def test_tables_are_marked(case):
    """Every matrix held directly by a module is a known map between layers, or a table."""
    part = case.build()
    marked = {id(weight) for weight in tables_of(part)}
    for module in part.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.ndim > 1 and name != "weight":
                assert (id(weight) in marked) != (name in MAPS), f"{type(module).__name__}.{name}"


def test_every_encoder_is_here():
    """A new encoder needs a line in the table above."""
    public = {getattr(foveal.encoders, name) for name in foveal.encoders.__all__}
    encoders = {
        kind for kind in public if inspect.isclass(kind) and issubclass(kind, Encoder) and not inspect.isabstract(kind)
    }
    assert {type(case.build()) for case in CASES.values()} == encoders


@EVERY
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_the_grids_are_known_before(case, data):
    encoder, sizes = case.encoder(), data.draw(case.together())
    with torch.no_grad():
        maps = encoder(*views_of(sizes))
    shapes = [
        (2, encoder.prefix_tokens + rows * columns, width)
        for (rows, columns), width in zip(encoder.grids(*sizes), encoder.widths, strict=True)
    ]
    assert [tuple(features.shape) for features in maps] == shapes


@pytest.mark.parametrize("name", sorted(set(CASES) - {"causal_flow"}))  # it has square views only
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_rows_follow_the_height_and_columns_the_width(name, data):
    """Square views show how many cells each side length has."""
    case = CASES[name]
    encoder = case.encoder()
    size = data.draw(st.sampled_from([size for size in case.sizes if size.width != size.height]))

    def grids(width, height):
        return encoder.grids(*[Size(width, height)] * encoder.inputs)

    down, across = grids(size.height, size.height), grids(size.width, size.width)
    expected = tuple(Grid(high.rows, wide.columns) for high, wide in zip(down, across, strict=True))
    assert grids(*size) == expected


@pytest.mark.parametrize("name", sorted(set(CASES) - {"deepseek_vl", "causal_flow"}))  # no rows
def test_maps_lie_row_by_row(name):
    """A change in the upper right corner of a wide view changes the end of the first rows most."""
    case = CASES[name]
    encoder = case.encoder()
    wide = max(case.sizes, key=lambda size: size.width / size.height)
    plain = [torch.full((1, 3, wide.height, wide.width), 0.5) for _ in range(encoder.inputs)]
    marked = [view.clone() for view in plain]
    for view in marked:
        view[..., : wide.height // 4, -wide.width // 8 :] += 3
    with torch.no_grad():
        maps = zip(encoder(*plain), encoder(*marked), encoder.grids(*[wide] * encoder.inputs), strict=True)
        for before, after, grid in maps:
            changed = (after - before)[0, encoder.prefix_tokens :].norm(dim=-1).unflatten(0, grid)
            row, column = divmod(int(changed.argmax()), grid.columns)
            assert row < (grid.rows + 1) / 2
            assert column >= grid.columns // 2


@EVERY
@settings(max_examples=6, deadline=None)
@given(st.data())
def test_ragged_is_one_by_one(case, data):
    encoder = case.encoder()
    together = data.draw(st.lists(case.together(), min_size=1, max_size=4))
    views = [[torch.randn(3, size.height, size.width) for size in sizes] for sizes in together]
    with torch.no_grad():
        ragged = encoder.encode_views([view for each in views for view in each])
        for maps, each in zip(ragged, views, strict=True):
            for ours, alone in zip(maps, encoder(*(view[None] for view in each)), strict=True):
                close(ours, alone[0])


@EVERY
def test_views_of_a_batch_do_not_see_each_other(case):
    encoder, views = case.encoder(), case.views()
    with torch.no_grad():
        before = encoder(*views)
        for view in views:
            view[1] += 1
        after = encoder(*views)
    for first, second in zip(before, after, strict=True):
        close(second[0], first[0])
        assert not torch.allclose(second[1], first[1], atol=1e-3)


@EVERY
def test_rows_and_columns_are_not_confused(case):
    encoder = case.encoder()
    views = case.views()
    with torch.no_grad():
        upright, turned = encoder(*views), encoder(*(view.mT for view in views))
    for first, second in zip(upright, turned, strict=True):
        assert not torch.allclose(first, second, atol=1e-3)


@pytest.mark.parametrize("build_tower", [clip, siglip, lambda: dinov2(num_registers=2), sam])
@pytest.mark.parametrize("grid", [(5, 9), (7, 2)])
def test_positions_of_rows_stay_positions_of_rows(build_tower, grid):
    tower = build_tower()
    side = tower.image_size // tower.patch_size
    with torch.no_grad():
        rows = torch.arange(side, dtype=torch.float32).repeat_interleave(side)
        tower.positions.view(-1, tower.width)[-side * side :] = rows[:, None]
        resized = tower.positions_of(grid).reshape(-1, tower.width)[-grid[0] * grid[1] :].unflatten(0, grid)
    torch.testing.assert_close(resized, resized[:, :1].expand_as(resized))
    assert (resized[1:] > resized[:-1]).all()


@EVERY
@pytest.mark.parametrize("native", [True, False])
def test_gradient_reaches_every_parameter(case, native):
    encoder = case.encoder().train()
    maps = encoder(*(views_of(case.sizes[-1:] * encoder.inputs) if native else case.views()))
    sum(features.square().mean() for features in maps).backward()
    missed = [
        name
        for name, weight in encoder.named_parameters()
        if weight.requires_grad and (weight.grad is None or not weight.grad.any())
    ]
    assert all(weight.grad is not None for weight in encoder.parameters() if weight.requires_grad)
    # A view has one of the tables of queries; the others have a gradient of zero.
    assert [name for name in missed if not name.startswith("queries.")] == []
    assert len(missed) < len(getattr(encoder, "queries", [None]))


@EVERY
def test_described_and_built_again(case):
    encoder = case.encoder()
    again = build(describe(encoder)).eval()
    assert type(again) is type(encoder)
    assert describe(again) == describe(encoder)
    assert (again.widths, again.inputs, again.prefix_tokens) == (encoder.widths, encoder.inputs, encoder.prefix_tokens)
    assert again.statistics == encoder.statistics
    assert len(encoder.statistics) == encoder.inputs
    again.load_state_dict(encoder.state_dict())
    views = case.views()
    with torch.no_grad():
        for ours, reference in zip(again(*views), encoder(*views), strict=True):
            torch.testing.assert_close(ours, reference, atol=0, rtol=0)


@EVERY
def test_sizes_that_do_not_fit_are_refused(case):
    encoder = case.encoder()
    with pytest.raises(ValueError, match=r"cannot be cut into patches|must divide one another"):
        encoder.grids(*[case.refused] * encoder.inputs)
    with pytest.raises(ValueError, match=r"cannot be cut into patches|must divide one another"):
        encoder(*views_of([case.refused] * encoder.inputs))


@EVERY
def test_another_number_of_views_is_refused(case):
    encoder, size = case.encoder(), case.sizes[-1]
    for number in {0, encoder.inputs - 1, encoder.inputs + 1}:
        with pytest.raises(ValueError, match=f"looks at {encoder.inputs} views together, not {number}"):
            encoder.grids(*[size] * number)
        with pytest.raises(ValueError, match=f"looks at {encoder.inputs} views together, not {number}"):
            encoder(*views_of([size] * number))


@EVERY
@pytest.mark.parametrize("channels_and_more", [(2, 4), (2, 1), (3,)], ids=["alpha", "grey", "no batch"])
def test_views_of_another_shape_are_refused(case, channels_and_more):
    encoder, size = case.encoder(), case.sizes[-1]
    with pytest.raises(ValueError, match=r"views must be \[views, 3, height, width\]"):
        encoder(*[torch.zeros(*channels_and_more, *size)] * encoder.inputs)


@SEVERAL
def test_views_that_are_not_whole_groups_are_refused(name):
    encoder, size = CASES[name].encoder(), CASES[name].sizes[-1]
    with pytest.raises(ValueError, match=f"{encoder.inputs + 1} views, of which .* looks at {encoder.inputs} together"):
        encoder.encode_views([torch.zeros(3, *size)] * (encoder.inputs + 1))


@SEVERAL
def test_batches_of_different_length_are_refused(name):
    encoder, size = CASES[name].encoder(), CASES[name].sizes[-1]
    lengths = [3, 1] + [2] * (encoder.inputs - 2)
    with pytest.raises(ValueError, match="views"):
        encoder(*(torch.zeros(length, 3, *size) for length in lengths))


@EVERY
def test_no_views_no_maps(case):
    assert case.encoder().encode_views([]) == []


@pytest.mark.parametrize("tower", [clip, dinov2, convnext])
@pytest.mark.parametrize("layers", [(), (6,), (-7,), (-1, 6)])
def test_layers_that_do_not_exist_are_refused(tower, layers):
    with pytest.raises(ValueError, match="name at least one, each from"):
        tower(layers=layers)


@pytest.mark.parametrize("build_tower", [clip, convnext])
def test_layers_are_counted_from_either_end_in_the_order_asked(build_tower):
    torch.manual_seed(0)
    every = build_tower(layers=(-1, 1, 0)).eval()
    depth = max(every.states)
    again = build_tower(layers=(0, -depth, depth, depth)).eval()
    again.load_state_dict(every.state_dict())
    views = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        last, first, stem = every(views)
        for ours, reference in zip(again(views), (stem, first, last, last), strict=True):
            close(ours, reference)


@pytest.mark.parametrize("case", ["sam", "convnext", "llava_hr", "deepstack_v_post"])
def test_checkpointing_changes_no_gradient(case):
    encoder = CASES[case].encoder().train()
    towers = [part for part in encoder.modules() if hasattr(part, "checkpointing")]
    views = CASES[case].views()
    gradients = []
    for checkpointing in (False, True):
        for tower in towers:
            tower.checkpointing = checkpointing
        encoder.zero_grad()
        sum(features.square().mean() for features in encoder(*views)).backward()
        gradients.append([weight.grad for weight in encoder.parameters() if weight.grad is not None])
    assert towers
    for ours, reference in zip(*gradients, strict=True):
        close(ours, reference)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sam(global_blocks=(3,)), "global_blocks"),
        (lambda: sam(window=0), "window 0 must be at least 1"),
        (lambda: SamViTDet(10, 1, 3, 4, 8, global_blocks=()), "width 10 must be a multiple of heads 3"),
        (lambda: SamViTDet(12, 1, 3, 4, 10, global_blocks=()), "image_size 10 of patch_size 4"),
        (lambda: ConvNeXt((4, 8), (1,)), "2 widths_of_stages for 1 depths"),
        (lambda: ConvNeXt((), ()), "0 widths_of_stages for 0 depths"),
        (lambda: clip(use_class_token=False, keep_class_token=True), "no class token"),
        (lambda: ParallelEncoder([clip()]), "at least two encoders"),
        (lambda: ParallelEncoder([clip(), ParallelEncoder([clip(), clip()])]), "of one view each"),
        (lambda: ParallelEncoder([clip(), clip(keep_class_token=True)]), "keep_class_token alike"),
        (lambda: FrameEncoder(clip(layers=(0, 1))), "one view and return one map, VisionTransformer .* returns 2"),
        (lambda: FrameEncoder(FrameEncoder(clip(), frames=3)), "FrameEncoder takes 3 and returns 3"),
        (lambda: FrameEncoder(clip(), frames=0), "frames is 0"),
        (lambda: early_compression(compress_after=0), "after one of the 3 blocks"),
        (lambda: early_compression(compress_after=4), "compress_after is 4"),
        (lambda: EarlyCompressionViT(16, 1, 3, 24, 4, 24), "not a multiple of heads 3"),
        (lambda: EarlyCompressionViT(16, 1, 2, 24, 4, 3), "image_size 3 is smaller"),
        (lambda: StackedVisionTransformer(clip(), start=0, crops=3), "3 is not a square number"),
        (lambda: StackedVisionTransformer(clip(), start=0, crops=0), "0 is not a square number"),
        (lambda: StackedVisionTransformer(clip(layers=(1, 2)), start=0), "must return one layer"),
        (lambda: StackedVisionTransformer(clip(keep_class_token=True), start=0), "without a class token"),
        (lambda: StackedVisionTransformer(clip(layers=(-1,)), start=1), "stacks before blocks 1 to 4 do not fit"),
        (lambda: StackedVisionTransformer(clip(), start=-1), "do not fit"),
        (lambda: StackedVisionTransformer(clip(), start=0, post_blocks=1), "ask it for its last layer"),
        (lambda: MixtureOfResolution(clip(layers=(-2,)), convnext()), r"set their layers to \[-1\]"),
        (lambda: MixtureOfResolution(clip(layers=(-1,)), convnext(layers=(3,))), r"set their layers to \[-1\]"),
        (lambda: MixtureOfResolution(clip(layers=(-1,)), convnext()), "3 blocks must be a multiple of 4"),
        (lambda: SamSiglipHybrid(sam(global_blocks=()), siglip()), "needs a global block"),
        (lambda: SamSiglipHybrid(sam(), siglip(layers=(0, 1))), "one layer without a class token"),
        (lambda: SamSiglipHybrid(sam(), clip(keep_class_token=True)), "one layer without a class token"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("depth", "layer", "post_blocks", "last_start"),
    [
        (6, -1, 0, 2),
        (6, 6, 0, 2),
        (6, -2, 0, 2),  # the last stack is added to layer -2 itself
        (6, -3, 0, 1),
        (2, -1, 5, 3),
        (4, -1, 0, 0),
    ],
)
def test_the_last_place_for_stacks(depth, layer, post_blocks, last_start):
    """As many stacks as DeepStack-V's reference adds, and no more."""

    def stacked(start):
        tower = VisionTransformer(16, depth, 2, 24, 4, 16, layers=(layer,))
        return StackedVisionTransformer(tower, start=start, post_blocks=post_blocks).eval()

    with pytest.raises(ValueError, match=f"before blocks {last_start + 1} to {last_start + 4} do not fit"):
        stacked(last_start + 1)
    model = stacked(last_start)
    views = [torch.randn(1, 3, 16, 16, requires_grad=True) for _ in range(5)]
    features = model(*views)[0]
    (features * torch.randn_like(features)).sum().backward()
    assert all(bool(view.grad.any()) for view in views)


def test_every_frame_has_the_map_of_its_tower():
    encoder = FrameEncoder(clip(), frames=3).eval()
    frames = views_of([Size(20, 8)] * 3)
    with torch.no_grad():
        for features, frame in zip(encoder(*frames), frames, strict=True):
            close(features, encoder.encoder(frame)[0])
    assert encoder.views_of_maps == (0, 1, 2)
    assert FrameEncoder(causal_flow(), frames=2).views_of_maps == (None, None)
    with pytest.raises(ValueError, match="frames of a video must have one size, but have 8x20, 20x8"):
        encoder.grids(Size(20, 8), Size(8, 20), Size(20, 8))

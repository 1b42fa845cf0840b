"""The promises of every connector, tested without reference data."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packages.connectors.tests.every_connector import CASES, D_ABSTRACTOR, FLAMINGO, FUSER, THREE, maps_of

import foveal.connectors
from foveal.connectors import (
    Average,
    CAbstractor,
    Chain,
    ConcatChannels,
    ConcatTokens,
    Connector,
    DAbstractor,
    DenseConnector,
    FlamingoPerceiver,
    HoneybeeResampler,
    Idefics2Perceiver,
    MlpProjector,
    MMFuser,
    Parallel,
    PatchMerger,
    PixelShuffle,
    Pool,
    QFormer,
    SpaceTimePool,
    SplitMlp,
    StridedPool,
    TokenPacker,
    grouped,
)
from foveal.core import build, describe, tables_of

MAPS: set[str] = {"qkv_weight", "projection"}
"""Matrices that are parameters of a module of ours, and no tables."""
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
TURNING_CHANGES = [
    *("adaptive_pool", "pool", "strided_average", "strided_max", "strided_bilinear", "ldp_v2", "video"),
    *("pixel_shuffle", "conv_pool", "c_abstractor", "d_abstractor", "d_abstractor_levels", "honeybee_resampler"),
    *("perceiver", "spatial_resampler", "hiwin", "token_packer", "mmfuser", "mmfuser_reduced", "chain_fuser"),
    *("chain_of_three", "patch_merger", "patch_merger_blocks"),
]


def those(condition):
    """The cases whose connector meets the condition."""
    names = [name for name, case in CASES.items() if condition(case.build())]
    return pytest.mark.parametrize("case", [CASES[name] for name in names], ids=names)


MASKED = those(lambda connector: connector.supports_mask)


def close(ours, reference):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


def test_every_connector_is_here():
    """A new connector needs a line in the table above."""
    public = {getattr(foveal.connectors, name) for name in foveal.connectors.__all__}
    connectors = {
        kind
        for kind in public
        if inspect.isclass(kind) and issubclass(kind, Connector) and not inspect.isabstract(kind)
    }
    assert {type(case.build()) for case in CASES.values()} == connectors


@EVERY
def test_tables_are_marked(case):
    """Every matrix held directly by a module is a known map between layers, or a table."""
    part = case.build()
    marked = {id(weight) for weight in tables_of(part)}
    for module in part.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.ndim > 1 and name != "weight":
                assert (id(weight) in marked) != (name in MAPS), f"{type(module).__name__}.{name}"


@EVERY
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_the_number_of_tokens_is_known_before(case, data):
    connector, grids = case.connector(), data.draw(case.grids())
    with torch.no_grad():
        tokens = connector(maps_of(connector, grids), grids)
    levels = () if connector.levels == 1 else (connector.levels,)
    assert tokens.shape == (2, *levels, connector.num_tokens(*grids), connector.out_width)
    out_grid = connector.out_grid(*grids)
    assert out_grid is None or out_grid[0] * out_grid[1] == connector.num_tokens(*grids)


@EVERY
@settings(max_examples=5, deadline=None)
@given(st.data())
def test_grouped_is_one_by_one(case, data):
    connector = case.connector()
    grids = data.draw(st.lists(case.grids(), min_size=1, max_size=4))
    maps = [[features[0] for features in maps_of(connector, each, number=1)] for each in grids]
    with torch.no_grad():
        for tokens, of_view, each in zip(grouped(connector, maps, grids), maps, grids, strict=True):
            close(tokens, connector([features[None] for features in of_view], each)[0])


@EVERY
def test_views_of_a_batch_do_not_see_each_other(case):
    connector, grids = case.connector(), case.usual()
    maps = maps_of(connector, grids)
    with torch.no_grad():
        before = connector([features.clone() for features in maps], grids)
        for features in maps:
            features[1] = torch.randn_like(features[1])
        after = connector(maps, grids)
    close(after[0], before[0])
    assert not torch.allclose(after[1], before[1], atol=1e-3)


@EVERY
def test_features_are_left_as_they_were(case):
    connector, grids = case.connector(), case.usual()
    maps = maps_of(connector, grids)
    before = [features.clone() for features in maps]
    connector(maps, grids)
    assert all(torch.equal(ours, reference) for ours, reference in zip(maps, before, strict=True))


@EVERY
def test_gradient_reaches_every_parameter_and_every_map(case):
    connector, grids = case.connector(), case.usual()
    maps = [features.requires_grad_() for features in maps_of(connector, grids)]
    tokens = connector(maps, grids)
    (tokens * torch.randn_like(tokens)).sum().backward()
    learned = {name: weight for name, weight in connector.named_parameters() if weight.requires_grad}
    sources = learned | {f"map {number}": features for number, features in enumerate(maps)}
    assert [name for name, source in sources.items() if source.grad is None or not source.grad.any()] == []
    fixed = [weight for weight in connector.parameters() if not weight.requires_grad]
    assert all(weight.grad is None for weight in fixed)


@EVERY
def test_described_and_built_again(case):
    connector, grids = case.connector(), case.usual()
    again = build(describe(connector)).eval()
    assert type(again) is type(connector)
    assert describe(again) == describe(connector)
    again.load_state_dict(connector.state_dict())
    maps = maps_of(connector, grids)
    with torch.no_grad():
        torch.testing.assert_close(again(maps, grids), connector(maps, grids), atol=0, rtol=0)
    for promise in ("in_widths", "out_width", "prefix_tokens", "supports_mask", "needs_grid"):
        assert getattr(again, promise) == getattr(connector, promise)


@pytest.mark.parametrize(
    ("name", "options"), [("flamingo", {"mlp_ratio": 4}), ("d_abstractor", {"use_positions": True})]
)
def test_descriptions_from_before_an_option_are_understood(name, options):
    connector = CASES[name].connector()
    older = describe(connector)
    for option, default in options.items():
        assert older["init_args"].pop(option) == default
    again = build(older)
    again.load_state_dict(connector.state_dict())
    assert describe(again) == describe(connector)


def test_options_change_what_there_is_to_learn():
    """Compared with weights counted by hand."""

    def count(connector):
        return sum(weight.numel() for weight in connector.parameters())

    wide, narrow = (FlamingoPerceiver(12, 16, **FLAMINGO, mlp_ratio=ratio) for ratio in (5, 2))
    assert count(wide) - count(narrow) == 2 * (5 - 2) * 12 * 12 * FLAMINGO["depth"]
    placed, free = (DAbstractor(12, 16, **D_ABSTRACTOR, use_positions=use) for use in (True, False))
    assert count(placed) - count(free) == 4 * 4 * 8
    assert "positions" not in free.state_dict()
    with pytest.raises(ValueError, match="mlp_ratio must be at least 1, not 0"):
        FlamingoPerceiver(12, 16, mlp_ratio=0)


def test_without_positions_the_d_abstractor_is_as_with_none():
    placed, free = (DAbstractor(12, 16, **D_ABSTRACTOR, use_positions=use).eval() for use in (True, False))
    weights = placed.state_dict()
    weights["positions"].zero_()
    del weights["positions"]
    free.load_state_dict(weights)
    maps, grids = maps_of(placed, [(4, 6)]), [(4, 6)]
    with torch.no_grad():
        close(free(maps, grids), placed(maps, grids))


@pytest.mark.parametrize("name", TURNING_CHANGES)
def test_rows_and_columns_are_not_confused(name):
    connector, grids = CASES[name].connector(), CASES[name].usual()
    maps, turned = maps_of(connector, grids), tuple((columns, rows) for rows, columns in grids)
    with torch.no_grad():
        assert not torch.allclose(connector(maps, turned), connector(maps, grids), atol=1e-4)


@those(lambda connector: not connector.needs_grid)
def test_any_grid_of_the_same_rows_will_do_where_none_is_needed(case):
    connector, grids = case.connector(), case.usual()
    maps = maps_of(connector, grids)
    with torch.no_grad():
        close(connector(maps, [(1, rows * columns) for rows, columns in grids]), connector(maps, grids))


@MASKED
def test_masked_rows_change_nothing(case):
    connector, grids = case.connector(), case.usual()
    maps = maps_of(connector, grids)
    mask = torch.ones(maps[0].shape[:2], dtype=torch.bool)
    with torch.no_grad():
        close(connector(maps, grids, mask), connector(maps, grids))
        mask[0, -5:] = False
        mask[1, 3] = False
        before, unmasked = connector(maps, grids, mask), connector(maps, grids)
        maps[0][~mask] += 10
        close(connector(maps, grids, mask), before)
    for masked, all_rows in zip(before, unmasked, strict=True):
        assert not torch.allclose(masked, all_rows, atol=1e-4)


@those(lambda connector: connector.supports_mask and not connector.needs_grid and len(connector.in_widths) == 1)
def test_a_mask_is_a_cut_where_places_do_not_matter(case):
    connector = case.connector()
    maps = maps_of(connector, [(4, 3)])
    mask = torch.ones(maps[0].shape[:2], dtype=torch.bool)
    mask[:, -4:] = False
    with torch.no_grad():
        close(connector(maps, [(4, 3)], mask), connector([maps[0][:, :-4]], [(4, 2)]))


@MASKED
def test_a_mask_of_another_shape_or_kind_is_refused(case):
    connector, grids = case.connector(), case.usual()
    maps = maps_of(connector, grids)
    mask = torch.ones(maps[0].shape[:2], dtype=torch.bool)
    for wrong in (mask[:, 1:], mask[:1], mask.float()):
        with pytest.raises(ValueError, match="the mask must be bool"):
            connector(maps, grids, wrong)


@those(lambda connector: not connector.supports_mask)
def test_a_mask_that_is_not_supported_is_refused(case):
    connector, grids = case.connector(), case.usual()
    maps = maps_of(connector, grids)
    with pytest.raises(ValueError, match=f"{type(connector).__name__} takes no mask"):
        connector(maps, grids, torch.ones(maps[0].shape[:2], dtype=torch.bool))


@EVERY
def test_maps_that_do_not_fit_are_refused(case):
    connector, grids = case.connector(), case.usual()
    maps = maps_of(connector, grids)
    first, others = maps[0], maps[1:]
    for wrong in (first[..., 1:], torch.cat([first, first], dim=-1), first[:, 1:], first[0]):
        with pytest.raises(ValueError, match=rf"{type(connector).__name__} takes \[views, \d+, \d+\]"):
            connector([wrong, *others], grids)


@EVERY
def test_another_number_of_maps_is_refused(case):
    connector, grids = case.connector(), case.usual()
    maps = maps_of(connector, grids)
    for wrong_maps, wrong_grids in (([*maps, maps[0]], (*grids, grids[0])), (maps[1:], grids[1:]), (maps, grids[1:])):
        with pytest.raises(ValueError, match=r"takes (one map with its grid|\d maps with their grids), not"):
            connector(wrong_maps, wrong_grids)


@EVERY
@pytest.mark.parametrize("empty", [(0, 4), (4, 0), (0, 0)])
def test_an_empty_grid_is_refused(case, empty):
    connector = case.connector()
    grids = (empty,) * len(connector.in_widths)
    with pytest.raises(ValueError, match=f"a grid of at least 1x1, not {empty[0]}x{empty[1]}"):
        connector(maps_of(connector, grids), grids)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.wrong_grids()])
def test_grids_that_do_not_fit_are_refused(name):
    """Both `num_tokens` and `forward` refuse sides without whole blocks, and unequal maps to be joined cell by cell."""
    connector = CASES[name].connector()
    message = "into blocks|be halved|smaller than a window|grids differ|takes (maps of )?one grid|cannot be joined"
    for grids in CASES[name].wrong_grids():
        with pytest.raises(ValueError, match=message):
            connector.num_tokens(*grids)
        with pytest.raises(ValueError, match=message):
            connector(maps_of(connector, grids), grids)


def test_mmfuser_looks_around_its_own_place():
    fuser, grid = FUSER((12, 12), use_self_attention=False), (4, 6)
    torch.nn.init.zeros_(fuser.cross_attention.sampling_offsets.bias)
    shallow, deep = maps_of(fuser, [grid] * 2)
    before = fuser([shallow, deep], [grid] * 2)
    shallow.unflatten(1, grid)[:, 1, 5] = 3 * torch.randn(2, 12)
    changed = (fuser([shallow, deep], [grid] * 2) - before).abs().amax(dim=-1) > 1e-5
    assert changed.nonzero().tolist() == [[0, 11], [1, 11]]


def test_what_comes_without_order_cannot_lie_on_a_grid():
    chain = Chain(THREE, 16, stages=[ConcatTokens], last=PixelShuffle)
    for refused in (chain.num_tokens, chain.out_grid, lambda *grids: chain(maps_of(chain, grids), grids)):
        with pytest.raises(
            ValueError, match="ConcatTokens gives 12 tokens without rows and columns, which PixelShuffle"
        ):
            refused((2, 2), (2, 2), (2, 2))


def test_order_that_is_lost_once_is_lost():
    chain = Chain(THREE, 16, stages=[ConcatTokens], last=MlpProjector)
    assert chain.out_grid((2, 2), (1, 3), (2, 2)) is None
    assert chain.num_tokens((2, 2), (1, 3), (2, 2)) == 11


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MlpProjector((12, 12), 16), "returns 2 maps .* the connector takes one"),
        (lambda: PixelShuffle((12, 12), 16), "returns 2 maps"),
        (lambda: PixelShuffle(12, 16, ratio=0), "ratio must be at least 1, not 0"),
        (lambda: PatchMerger(12, 16, ratio=0), "ratio must be at least 1, not 0"),
        (lambda: Pool(12, rows=0), "rows and columns must be at least 1"),
        (lambda: StridedPool(12, stride=0), "stride 0 must be at least 1"),
        (lambda: StridedPool(12, mode="median"), "'median' average, max or bilinear"),
        (lambda: SpaceTimePool(12, 16), "one map of width 12, but several are needed here"),
        (lambda: SpaceTimePool((12, 8), 16), "the maps must have one width"),
        (lambda: SpaceTimePool(THREE, 16, slots=0), "slots must be at least 1"),
        (lambda: CAbstractor(12, 16, depth=-1), "depth -1 .* too small"),
        (lambda: CAbstractor(12, 16, mlp_depth=0), "mlp_depth 0 is too small"),
        (lambda: DAbstractor(THREE, 16), "for 3 maps none, not 'query'"),
        (lambda: DAbstractor(12, 16, hidden_width=8, heads=3), "heads 3 must divide width 8"),
        (lambda: HoneybeeResampler(12, 16, hidden_width=8, heads=3), "heads 3 must divide width 8"),
        (lambda: QFormer(12, 16, queries=0), "queries 0"),
        (lambda: QFormer(12, 16, cross_every=0), "cross_every 0"),
        (lambda: FlamingoPerceiver(THREE, 16), "3 maps .* at most 1 frames of one width"),
        (lambda: FlamingoPerceiver(THREE, 16, num_frames=2), "at most 2 frames"),
        (lambda: FlamingoPerceiver((12, 8), 16, num_frames=2), "frames of one width"),
        (lambda: Idefics2Perceiver(12, 16, heads=4, key_heads=3), "multiple of key_heads 3"),
        (lambda: TokenPacker(12, 16), "several are needed here"),
        (lambda: TokenPacker(THREE, 16, scale=0), "scale 0 must be at least 1"),
        (lambda: TokenPacker(THREE, 16, hidden_width=10, heads=4), "heads 4 must divide hidden_width 10"),
        (lambda: Average((12, 8)), "the maps must have one width"),
        (lambda: Average(THREE, shares=(0.5, 0.5)), r"shares \(0.5, 0.5\) for 3 maps"),
        (lambda: Average((12, 12), shares=(1.0, 0.0), learn_shares=True), "above 0 if they are learned"),
        (lambda: ConcatChannels(12), "several are needed here"),
        (lambda: ConcatTokens((12, 8)), "the maps must have one width"),
        (lambda: DenseConnector(THREE, kind="dsi"), "kind must be sti, sci or dci, not 'dsi'"),
        (lambda: DenseConnector(THREE), "3 maps cannot be halved"),
        (lambda: DenseConnector((12,) * 4, final_in_mean=False), "3 maps cannot be halved"),
        (lambda: MMFuser(12), "several are needed here"),
        (lambda: MMFuser((12, 8)), "the maps must have one width"),
        (lambda: MMFuser(THREE, attention="local"), "not 'local'"),
        (lambda: MMFuser(THREE, heads=5), "heads 5 must divide width 12"),
        (lambda: SplitMlp(12, 16), "several are needed here"),
        (lambda: SplitMlp(THREE, 16), "16 channels cannot be divided among 3 maps"),
        (lambda: Parallel((12, 8), 16, branches=[MlpProjector]), "1 branches for 2 maps"),
        (lambda: Parallel(THREE, 16, branches=[MlpProjector] * 3), "16 channels cannot be divided among 3 branches"),
        (lambda: Parallel((12, 8), 16, branches=[MlpProjector] * 2, join="sum"), "not 'sum'"),
        (
            lambda: Parallel((12, 8), 16, branches=[MlpProjector(12, 8), MlpProjector(12, 8)]),
            r"MlpProjector turns \(12,\) into 8, not 8 into 8",
        ),
        (lambda: Chain(12, 16, stages=[], last=MlpProjector), "at least one stage"),
        (
            lambda: Chain(12, 16, stages=[Pool], last=MlpProjector(8, 16)),
            r"MlpProjector takes widths \(8,\), but receives \(12,\)",
        ),
        (lambda: Chain(THREE, 16, stages=[Pool], last=MlpProjector), "returns 3 maps"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()

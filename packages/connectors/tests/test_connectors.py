"""The promises of connectors, tested without reference data."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from foveal.connectors import AdaptivePool, MlpProjector, PerceiverResampler, SpatialResampler, grouped
from foveal.connectors.mlp import LLAVA, LLAVA_LINEAR, TRANSFORMERS
from foveal.connectors.pool import DECO, pool_matrix
from foveal.connectors.resampler import UHD
from foveal.connectors.separable import resized
from foveal.connectors.sincos import resampled
from foveal.connectors.windows import window_matrix
from foveal.core import build, describe

GRIDS = st.tuples(st.integers(1, 9), st.integers(1, 9))


def every_connector():
    torch.manual_seed(0)
    return [
        MlpProjector(12, 16),
        MlpProjector(12, 16, depth=3, prefix_tokens=1),
        AdaptivePool(12, 16, rows=2, columns=3),
        PerceiverResampler(12, 16, queries=9, heads=2),
        SpatialResampler(12, 16, queries=16, heads=2),
    ]


@settings(max_examples=20, deadline=None)
@given(GRIDS)
def test_the_number_of_tokens_is_known_before(grid):
    for connector in every_connector():
        features = torch.randn(2, connector.prefix_tokens + grid[0] * grid[1], 12)
        tokens = connector([features], [grid])
        assert tokens.shape == (2, connector.num_tokens(grid), 16)
        out_grid = connector.out_grid(grid)
        assert out_grid is None or out_grid[0] * out_grid[1] == connector.num_tokens(grid)


@settings(max_examples=10, deadline=None)
@given(st.lists(GRIDS, min_size=1, max_size=5))
def test_grouped_is_one_by_one(grids):
    for connector in every_connector():
        maps = [[torch.randn(connector.prefix_tokens + rows * columns, 12)] for rows, columns in grids]
        with torch.no_grad():
            together = grouped(connector, maps, [(grid,) for grid in grids])
            for tokens, (features,), grid in zip(together, maps, grids, strict=True):
                torch.testing.assert_close(tokens, connector([features[None]], [grid])[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_rows_and_columns_are_not_confused(number):
    connector = every_connector()[number]
    features = torch.randn(1, 12, 12)
    assert not torch.allclose(connector([features], [(3, 4)]), connector([features], [(4, 3)]), atol=1e-4)


def test_masked_features_do_not_count():
    connector = PerceiverResampler(12, 16, queries=4, heads=2)
    features = torch.randn(1, 6, 12)
    mask = torch.tensor([[True, True, True, True, False, False]])
    before = connector([features], [(2, 3)], mask)
    features[:, 4:] += 10
    torch.testing.assert_close(connector([features], [(2, 3)], mask), before)
    assert not torch.allclose(connector([features], [(2, 3)]), before)


def test_a_mask_is_a_cut_where_places_do_not_matter():
    connector = PerceiverResampler(12, 16, queries=4, heads=2)
    connector.positions.data.zero_()
    features = torch.randn(2, 6, 12)
    mask = torch.tensor([[True, True, True, True, False, False]] * 2)
    cut = connector([features[:, :4]], [(2, 2)])
    torch.testing.assert_close(connector([features], [(3, 2)], mask), cut, atol=1e-6, rtol=0)


def test_features_are_left_as_they_were():
    for connector in every_connector():
        features = torch.randn(2, connector.prefix_tokens + 12, 12)
        before = features.clone()
        connector([features], [(3, 4)])
        assert torch.equal(features, before)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))
def test_the_pool_is_adaptive_average_pooling(height, width, rows, columns):
    features = torch.randn(2, height * width, 3)
    ours = resized(features, (height, width), pool_matrix(height, rows), pool_matrix(width, columns))
    torchs = F.adaptive_avg_pool2d(features.mT.unflatten(2, (height, width)), (rows, columns)).movedim(1, -1)
    torch.testing.assert_close(ours, torchs, atol=1e-6, rtol=0)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 30), st.integers(1, 30))
def test_tables_are_resampled_bicubically(height, width, rows, columns):
    table = torch.randn(height * width, 3)
    plane = table.T.unflatten(1, (height, width))[None]
    torchs = F.interpolate(plane, size=(rows, columns), mode="bicubic", align_corners=False)[0].flatten(1).T
    torch.testing.assert_close(resampled(table, (height, width), (rows, columns)), torchs, atol=2e-6, rtol=0)


def test_resizing_keeps_float32_under_autocast():
    features, down, across = torch.randn(1, 12, 8), pool_matrix(3, 2), pool_matrix(4, 3)
    expected = resized(features, (3, 4), down, across)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(resized(features, (3, 4), down, across), expected)
    assert resized(features.bfloat16(), (3, 4), down, across).dtype == torch.float32


def test_half_precision_is_near():
    for connector in every_connector():
        features = torch.randn(2, connector.prefix_tokens + 12, 12)
        expected = connector([features], [(3, 4)])
        tokens = connector.bfloat16()([features.bfloat16()], [(3, 4)])
        assert tokens.dtype == torch.bfloat16
        assert (tokens.float() - expected).norm() < 0.02 * expected.norm()


def test_a_window_sees_its_own_place_only():
    connector = SpatialResampler(12, 16, queries=4, heads=1)
    features = torch.randn(1, 64, 12)
    before = connector([features], [(8, 8)])
    features.unflatten(1, (8, 8))[:, 6:, 6:] += 5
    after = connector([features], [(8, 8)])
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


@given(st.integers(1, 40), st.integers(1, 12), st.integers(2, 4))
def test_points_of_windows_are_means(size, windows, points):
    matrix = window_matrix(size, windows, points)
    assert matrix.shape == (windows, points, size)
    assert (matrix >= 0).all()
    if size >= windows:  # otherwise windows are one cell long, and points beyond the map count as zero
        torch.testing.assert_close(matrix.sum(-1), torch.ones(windows, points))


def test_gradient_reaches_what_learns():
    for train_positions in (False, True):
        connector = PerceiverResampler(12, 16, queries=4, heads=2, train_positions=train_positions)
        connector([torch.randn(1, 6, 12)], [(2, 3)]).square().sum().backward()
        assert connector.query.grad.abs().sum() > 0
        assert (connector.positions.grad is not None) == train_positions


def test_transformers_names():
    projector = MlpProjector(12, 16)
    written = TRANSFORMERS.write(projector.state_dict())
    assert set(written) == {"linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"}


def test_published_names_there_and_back():
    for connector, key_map in (
        (MlpProjector(12, 16, depth=3), LLAVA),
        (MlpProjector(12, 16, depth=1), LLAVA_LINEAR),
        (MlpProjector(12, 16), TRANSFORMERS),
        (AdaptivePool(12, 16, rows=2, columns=3), DECO),
        (PerceiverResampler(12, 16, queries=9), UHD),
        (SpatialResampler(16, 16, queries=9), UHD),  # equal widths: no projection to name
    ):
        ours = connector.state_dict()
        again = key_map.read(key_map.write(ours))
        assert again.keys() == ours.keys()
        assert all(torch.equal(again[name], ours[name]) for name in ours)


def test_described_and_built_again():
    for connector in every_connector():
        again = build(describe(connector))
        again.load_state_dict(connector.state_dict())
        assert describe(again) == describe(connector)


def test_faults():
    projector = MlpProjector(12, 16)
    with pytest.raises(ValueError, match=r"takes \[views, 6, 12\] for a grid of 2x3 .* not \(1, 5, 12\)"):
        projector([torch.zeros(1, 5, 12)], [(2, 3)])
    with pytest.raises(ValueError, match="takes one map"):
        projector([torch.zeros(1, 6, 12)] * 2, [(2, 3)])
    with pytest.raises(ValueError, match="takes no mask"):
        projector([torch.zeros(1, 6, 12)], [(2, 3)], torch.ones(1, 6, dtype=torch.bool))
    with pytest.raises(ValueError, match="7 is not a square number"):
        PerceiverResampler(12, 16, queries=7)
    with pytest.raises(ValueError, match="-4 is not a square number"):
        PerceiverResampler(12, 16, queries=-4)
    with pytest.raises(ValueError, match="heads must be at least 1, not 0"):
        PerceiverResampler(12, 16, queries=4, heads=0)
    with pytest.raises(ValueError, match="a grid of at least 1x1, not 0x3"):
        projector([torch.zeros(1, 0, 12)], [(0, 3)])
    with pytest.raises(ValueError, match="multiple of 4 and of heads 3"):
        PerceiverResampler(12, 16, queries=4, heads=3)
    with pytest.raises(ValueError, match="at least 1"):
        MlpProjector(12, 16, depth=0)
    with pytest.raises(ValueError, match="at least 1"):
        AdaptivePool(12, 16, rows=0)
    with pytest.raises(ValueError, match="2 views, 1 grids"):
        grouped(projector, [[torch.zeros(6, 12)]] * 2, [((2, 3),)])
    with pytest.raises(ValueError, match=r"view 1: its maps have \[5\] rows, but its grids need \[6\]"):
        grouped(projector, [[torch.zeros(6, 12)], [torch.zeros(5, 12)]], [((2, 3),)] * 2)

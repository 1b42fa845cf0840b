"""Windows sampled after the projections, compared with windows sampled before them; and cached matrices."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from foveal.connectors import AdaptivePool, PerceiverResampler, SpatialResampler
from foveal.connectors.pool import pool_matrix
from foveal.connectors.separable import _made, kept, resized
from foveal.connectors.sincos import resampled
from foveal.connectors.windows import window_matrix, window_points
from foveal.core import attention

GRIDS = [(4, 4), (2, 6), (7, 3), (1, 1), (1, 9), (13, 11)]


class Plain(SpatialResampler):
    """As in the paper: keys and values of all points of all windows are projected; nothing is cached."""

    def forward(self, maps, grids, mask=None):
        features, grid = self.single(maps, grids, mask)
        query, key, value = self._sources(features, grid)
        sources = query, self.windows(key, grid), self.windows(value, grid)
        weights, biases = self.qkv_weight.chunk(3), self.qkv_bias.chunk(3)
        query, key, value = (F.linear(*each) for each in zip(sources, weights, biases, strict=True))
        query = query.expand(len(features), -1, -1).reshape(-1, 1, self.out_width)
        attended = attention(*(each.unflatten(-1, (self.heads, -1)) for each in (query, key, value)))
        return self._finished(attended.reshape(len(features), self.queries, self.out_width))

    def windows(self, features, grid):
        points = window_points(grid)
        down, across = (window_matrix(*each).flatten(0, 1) for each in zip(grid, (self.side,) * 2, points, strict=True))
        sampled = resized(features, grid, down, across).unflatten(2, (self.side, points[1]))
        sampled = sampled.unflatten(1, (self.side, points[0])).transpose(2, 3)
        return sampled.flatten(3, 4).flatten(0, 2).to(features.dtype)


def pair(**changes):
    """The connector and the plain one with the same weights, none of which is zero."""
    ours, plain = (kind(12, 16, queries=9, heads=2, **changes) for kind in (SpatialResampler, Plain))
    with torch.no_grad():
        for weight in ours.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def close(ours, plain):
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("train_positions", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_projected_before_or_after_sampling(grid, train_positions):
    ours, plain = pair(train_positions=train_positions)
    features = torch.randn(2, grid[0] * grid[1], 12)
    results = []
    for connector in (ours, plain):
        seen = features.clone().requires_grad_()
        tokens = connector([seen], [grid])
        tokens.mul(torch.linspace(-1, 1, tokens.numel()).view_as(tokens)).sum().backward()
        gradients = {name: weight.grad for name, weight in connector.named_parameters() if weight.requires_grad}
        results.append((tokens, seen.grad, gradients))
    (tokens, seen, gradients), (plain_tokens, plain_seen, plain_gradients) = results
    close(tokens, plain_tokens)
    assert gradients.keys() == plain_gradients.keys()
    # Gradients are sums of terms of either sign over tokens, so errors are relative to the largest gradient of each.
    for one, other in [(seen, plain_seen), *((gradients[name], plain_gradients[name]) for name in gradients)]:
        assert (one - other).abs().max() <= 1e-5 * max(1.0, float(other.abs().max()))


def test_half_precision_is_as_near_as_before():
    ours, plain = pair()
    features = torch.randn(2, 24, 12)
    exact = plain([features], [(4, 6)])
    tokens = ours.bfloat16()([features.bfloat16()], [(4, 6)])
    assert tokens.dtype == torch.bfloat16
    assert (tokens.float() - exact).norm() < 0.02 * exact.norm()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = ours.float()([features], [(4, 6)])
    assert (mixed.float() - exact).norm() < 0.02 * exact.norm()


def test_what_inference_leaves_behind_can_be_trained_on():
    _made.cache_clear()
    connector = SpatialResampler(12, 16, queries=9, heads=2, train_positions=True)
    features = torch.randn(1, 15, 12)
    with torch.inference_mode():
        connector([features], [(5, 3)])
    connector([features], [(5, 3)]).sum().backward()
    assert connector.positions.grad.abs().sum() > 0


def test_shapes_leave_no_matrix_without_numbers_behind():
    _made.cache_clear()
    with torch.device("meta"):
        shapes = SpatialResampler(12, 16, queries=9, heads=2)
        assert shapes([torch.randn(1, 15, 12)], [(5, 3)]).device.type == "meta"
        # Even a matrix made for the CPU in this context has values.
        found = kept(window_matrix, 5, 3, 2, like=torch.zeros(1, device="cpu"))
    torch.testing.assert_close(found, window_matrix(5, 3, 2), rtol=0, atol=0)
    ours, plain = pair()
    features = torch.randn(1, 15, 12)
    close(ours([features], [(5, 3)]), plain([features], [(5, 3)]))


class Odd(torch.Tensor):
    """Stands for a fake tensor, in whose presence new tensors are fake too."""


def test_nothing_is_kept_beside_tensors_of_another_kind():
    _made.cache_clear()
    kept(window_matrix, 5, 3, 2, like=torch.zeros(1).as_subclass(Odd))
    assert _made.cache_info().currsize == 0
    kept(window_matrix, 5, 3, 2, like=nn.Parameter(torch.zeros(1)))
    assert _made.cache_info().currsize == 1


def test_kept_matrices_are_bounded_and_no_part_of_the_state():
    connector = SpatialResampler(12, 16, queries=9, heads=2)
    before = connector.state_dict().keys()
    for columns in range(1, 6):
        connector([torch.randn(1, 2 * columns, 12)], [(2, columns)])
    assert connector.state_dict().keys() == before
    assert _made.cache_info().maxsize == 1024
    assert kept(window_matrix, 5, 3, 2, like=torch.zeros(1)) is kept(window_matrix, 5, 3, 2, like=torch.ones(1))


def test_moved_and_made_double():
    ours, plain = pair()
    features = torch.randn(1, 15, 12)
    close(ours([features], [(5, 3)]), plain([features], [(5, 3)]))
    double = ours.double()([features.double()], [(5, 3)])
    assert double.dtype == torch.float64
    close(double.float(), plain([features], [(5, 3)]))


@pytest.mark.parametrize(
    "made",
    [
        lambda: window_matrix(11, 3, 4),
        lambda: pool_matrix(7, 3),
        lambda: resampled(torch.arange(16.0, dtype=torch.float32).view(4, 4), (2, 2), (3, 5)),
    ],
)
def test_matrices_are_float32_where_half_precision_is_the_default(made):
    _made.cache_clear()
    expected = made()
    _made.cache_clear()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = made()
    finally:
        torch.set_default_dtype(before)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [PerceiverResampler, SpatialResampler])
def test_a_model_in_true_half_precision_is_near(kind):
    """What Lightning's bf16-true does: half precision is the default while the model runs."""
    _made.cache_clear()
    connector = kind(12, 16, queries=9, heads=2).eval()
    features = torch.randn(2, 77, 12)
    exact = connector([features], [(7, 11)])
    _made.cache_clear()
    torch.set_default_dtype(torch.bfloat16)
    try:
        tokens = connector.bfloat16()([features.bfloat16()], [(7, 11)])
    finally:
        torch.set_default_dtype(torch.float32)
    assert (tokens.float() - exact).norm() < 0.02 * exact.norm()


def test_pooling_where_half_precision_is_the_default():
    pool = AdaptivePool(12, 16, rows=2, columns=2)
    features = torch.randn(1, 77, 12)
    exact = pool([features], [(7, 11)])
    torch.set_default_dtype(torch.bfloat16)
    try:
        tokens = pool.bfloat16()([features.bfloat16()], [(7, 11)])
    finally:
        torch.set_default_dtype(torch.float32)
    assert (tokens.float() - exact).norm() < 0.02 * exact.norm()

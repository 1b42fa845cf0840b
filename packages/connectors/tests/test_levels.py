"""Several levels of tokens: joined, chained, and refused if they are not what was promised."""

from functools import partial

import pytest
import torch

from foveal.connectors import (
    AdaptivePool,
    Chain,
    ConcatTokens,
    Connector,
    MlpProjector,
    Parallel,
    PixelShuffle,
    Pool,
    grouped,
)
from foveal.core import Grid, build, describe

GRID = Grid(4, 6)


class Copies(MlpProjector):
    """The same tokens on every level."""

    levels = 3

    def forward(self, maps, grids, mask=None):
        return torch.stack([super().forward(maps, grids, mask)] * self.levels, dim=1)


def maps_of(*widths, views=2, grid=GRID):
    return [torch.randn(views, grid[0] * grid[1], width) for width in widths]


@torch.no_grad()
def test_levels_side_by_side_are_those_stacked_by_hand():
    connector = Parallel((12, 8, 10), 16, branches=[PixelShuffle] * 3, join="levels")
    maps = maps_of(12, 8, 10)
    by_hand = [branch([features], [GRID]) for branch, features in zip(connector.parts, maps, strict=True)]
    assert torch.equal(connector(maps, [GRID] * 3), torch.stack(by_hand, dim=1))
    assert (connector.levels, connector.num_tokens(*[GRID] * 3), connector.out_grid(*[GRID] * 3)) == (3, 6, (2, 3))


@torch.no_grad()
def test_copies_are_the_one_level_again_and_again():
    torch.manual_seed(0)
    one, (features,) = MlpProjector(12, 16), maps_of(12)
    torch.manual_seed(0)
    copies = Copies(12, 16)
    assert torch.equal(copies([features], [GRID]), one([features], [GRID])[:, None].expand(-1, 3, -1, -1))
    pooled = Chain(12, 16, stages=[partial(Pool, rows=2, columns=3)], last=copies)
    assert pooled.levels == 3
    assert pooled([features], [GRID]).shape == (2, 3, 6, 16)


@torch.no_grad()
@pytest.mark.parametrize("join", ["channels", "tokens", "interleave"])
def test_connectors_with_levels_are_joined_level_by_level(join):
    share = 8 if join == "channels" else 16
    ours = Parallel((12, 12), 16, branches=[Copies(12, share), Copies(12, share)], join=join)
    plain = Parallel((12, 12), 16, branches=[MlpProjector(12, share), MlpProjector(12, share)], join=join)
    plain.load_state_dict(ours.state_dict())
    maps = maps_of(12, 12)
    assert ours.levels == 3
    tokens = ours(maps, [GRID] * 2)
    assert torch.equal(tokens, plain(maps, [GRID] * 2)[:, None].expand_as(tokens))
    assert tokens.shape == (2, 3, ours.num_tokens(GRID, GRID), 16)


@torch.no_grad()
def test_levels_of_levels_follow_each_other():
    connector = Parallel((12, 12), 16, branches=[MlpProjector, Copies], join="levels")
    maps = maps_of(12, 12)
    first, others = (branch([each], [GRID]) for branch, each in zip(connector.parts, maps, strict=True))
    assert connector.levels == 4
    assert torch.equal(connector(maps, [GRID] * 2), torch.cat([first[:, None], others], dim=1))


@torch.no_grad()
def test_ragged_views():
    connector = Copies(12, 16)
    grids = [(Grid(2, 3),), (Grid(4, 1),), (Grid(2, 3),)]
    maps = [[torch.randn(rows * columns, 12)] for ((rows, columns),) in grids]
    tokens = grouped(connector, maps, grids)
    assert [each.shape for each in tokens] == [(3, 6, 16), (3, 4, 16), (3, 6, 16)]
    for found, of_view, each in zip(tokens, maps, grids, strict=True):
        torch.testing.assert_close(found, connector([of_view[0][None]], each)[0], atol=1e-6, rtol=0)


def test_described_and_built_again():
    connector = Parallel((12, 8), 16, branches=[PixelShuffle, PixelShuffle], join="levels")
    again = build(describe(connector))
    assert (again.join, again.levels) == ("levels", 2)


class Broken(Connector):
    """Returns a given shape, whatever it promises."""

    def __init__(self, shape, levels=1):
        super().__init__()
        self.in_width, self.out_width, self.shape, self.levels = 12, 16, shape, levels

    def num_tokens(self, *grids):
        return grids[0][0] * grids[0][1]

    def out_grid(self, *grids):
        return grids[0]

    def forward(self, maps, grids, mask=None):
        return torch.zeros(self.shape)


@pytest.mark.parametrize(
    ("shape", "levels", "promised"),
    [
        ((1, 24, 8), 1, r"\[1, 24, 16\]"),
        ((1, 23, 16), 1, r"\[1, 24, 16\]"),
        ((2, 24, 16), 1, r"\[1, 24, 16\]"),
        ((1, 3, 24, 16), 1, r"\[1, 24, 16\]"),
        ((1, 24, 16), 3, r"\[1, 3, 24, 16\]"),
        ((1, 24, 3, 16), 3, r"\[1, 3, 24, 16\]"),
    ],
)
def test_other_tokens_than_promised_are_refused(shape, levels, promised):
    with pytest.raises(ValueError, match=rf"Broken promises {promised} .*, but its forward returned \[{shape[0]}, "):
        grouped(Broken(shape, levels), [[torch.randn(24, 12)]], [(GRID,)])


def test_levels_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="Copies gives several levels, which only the last part of a chain may"):
        Chain(12, 16, stages=[partial(Copies, out_width=12)], last=MlpProjector)
    with pytest.raises(ValueError, match=r"give \[1, 3\] levels, which can be joined by levels only, not by tokens"):
        Parallel((12, 12), 16, branches=[MlpProjector, Copies], join="tokens")
    uneven = Parallel((12, 12), 16, branches=[MlpProjector, PixelShuffle], join="levels")
    with pytest.raises(ValueError, match=r"the branches give \[24, 6\] tokens, which cannot be joined by levels"):
        uneven.num_tokens(GRID, GRID)
    turned = [partial(AdaptivePool, rows=2, columns=3), partial(AdaptivePool, rows=3, columns=2)]
    with pytest.raises(ValueError, match="tokens are on different grids"):
        Parallel((12, 12), 16, branches=turned, join="levels").num_tokens(GRID, GRID)
    with pytest.raises(ValueError, match="ConcatTokens turns"):
        Parallel((12, 12), 16, branches=[ConcatTokens((12, 12)), MlpProjector], join="levels")

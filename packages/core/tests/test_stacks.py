"""Tokens of tiles regrouped into stacks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foveal.core import mosaic, stacks_of

SIDES = st.integers(1, 4)
GRIDS = st.tuples(SIDES, SIDES)
SAMPLINGS = ("2d", "1d", "grid")


def tiles_of(tile_grid, grid, *, batch=()):
    return [torch.randn(*batch, grid[0] * grid[1], 3) for _ in range(tile_grid[0] * tile_grid[1])]


@given(GRIDS, GRIDS)
def test_a_mosaic_has_every_cell_in_its_place(tile_grid, grid):
    tiles = tiles_of(tile_grid, grid)
    whole = mosaic(tiles, tile_grid, grid)
    assert whole.shape == (tile_grid[0] * grid[0], tile_grid[1] * grid[1], 3)
    for row in range(whole.shape[0]):
        for column in range(whole.shape[1]):
            tile = tiles[row // grid[0] * tile_grid[1] + column // grid[1]]
            assert torch.equal(whole[row, column], tile[row % grid[0] * grid[1] + column % grid[1]])


@given(GRIDS, GRIDS)
def test_stacks_put_back_give_the_mosaic(tile_grid, grid):
    tiles = tiles_of(tile_grid, grid)
    whole = mosaic(tiles, tile_grid, grid)
    back = torch.full_like(whole, float("nan"))
    stacks = iter(stacks_of(tiles, tile_grid, grid))
    for row in range(tile_grid[0]):
        for column in range(tile_grid[1]):
            back[row :: tile_grid[0], column :: tile_grid[1]] = next(stacks).unflatten(0, grid)
    assert torch.equal(back, whole)
    assert next(stacks, None) is None


@given(GRIDS, GRIDS)
def test_stacks_hold_the_neighbours_under_a_cell(tile_grid, grid):
    tiles = tiles_of(tile_grid, grid)
    whole = mosaic(tiles, tile_grid, grid)
    under = torch.stack(stacks_of(tiles, tile_grid, grid), dim=1)
    for place, neighbours in enumerate(under):
        top, left = place // grid[1] * tile_grid[0], place % grid[1] * tile_grid[1]
        block = whole[top : top + tile_grid[0], left : left + tile_grid[1]]
        assert torch.equal(neighbours, block.flatten(0, 1))


@given(GRIDS, GRIDS)
def test_sequential_stacks_take_turns(tile_grid, grid):
    tiles = tiles_of(tile_grid, grid)
    stacks = stacks_of(tiles, tile_grid, grid, "1d")
    whole = mosaic(tiles, tile_grid, grid).flatten(0, 1)
    assert torch.equal(torch.stack(stacks, dim=1).flatten(0, 1), whole)


@given(GRIDS, GRIDS, st.sampled_from(SAMPLINGS))
def test_every_cell_is_in_one_stack(tile_grid, grid, sampling):
    cells = grid[0] * grid[1]
    numbers = torch.arange(tile_grid[0] * tile_grid[1] * cells).view(-1, cells, 1)
    stacks = stacks_of(list(numbers), tile_grid, grid, sampling)
    assert [stack.shape for stack in stacks] == [(cells, 1)] * len(numbers)
    assert torch.equal(torch.cat(stacks).flatten().sort().values, numbers.flatten())


@given(GRIDS, GRIDS, st.sampled_from(SAMPLINGS))
def test_a_batch_is_one_by_one(tile_grid, grid, sampling):
    tiles = tiles_of(tile_grid, grid, batch=(2, 3))
    together = stacks_of(tiles, tile_grid, grid, sampling)
    alone = stacks_of([tile[1, 2] for tile in tiles], tile_grid, grid, sampling)
    for ours, reference in zip(together, alone, strict=True):
        assert torch.equal(ours[1, 2], reference)


def test_the_tiles_themselves():
    tiles = tiles_of((2, 3), (2, 2))
    for ours, tile in zip(stacks_of(tiles, (2, 3), (2, 2), "grid"), tiles, strict=True):
        assert torch.equal(ours, tile)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_gradient_reaches_every_tile(sampling):
    tiles = [tile.requires_grad_() for tile in tiles_of((2, 3), (2, 2))]
    stacks = stacks_of(tiles, (2, 3), (2, 2), sampling)
    torch.stack(stacks).sum().backward()
    assert all(torch.equal(tile.grad, torch.ones(4, 3)) for tile in tiles)


def test_every_order_of_the_reference(golden):
    """Must match exactly. The reference pads with stacks of zeros, which add nothing; ours does not."""
    reference = golden("deepstack/sampling")
    found = set()
    for name, case in reference.meta["cases"].items():
        if case["ablation"] == "dummy_local":  # stacks of the overview itself, made without any sampling
            continue
        side, tensors = case["patches_per_side"], golden.strip(reference.tensors, f"{name}.")
        for number, (columns, rows) in enumerate(case["grids_wh"]):
            tiles = list(tensors[f"crops.{number}"])
            stacks = stacks_of(tiles, (rows, columns), (side, side), case["sampling"])
            if case["ablation"] == "string_withglobal":  # the overview, then the stacks, as one sequence
                together = torch.cat([tensors["global"][number], *stacks])
                assert torch.equal(together, tensors["global_out"][number]), name
            else:
                expected = tensors["stacks"][:, number]
                assert torch.equal(torch.stack(stacks), expected[: len(stacks)]), name
                assert not expected[len(stacks) :].any()
            found.add(case["sampling"])
    assert found == set(SAMPLINGS)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_another_number_of_tiles(sampling):
    with pytest.raises(ValueError, match="3 tiles for a tile grid of 2x2"):
        stacks_of(tiles_of((1, 3), (2, 2)), (2, 2), (2, 2), sampling)


def test_a_mosaic_of_another_number_of_tiles():
    with pytest.raises(ValueError, match="3 tiles for a tile grid of 2x2"):
        mosaic(tiles_of((1, 3), (2, 2)), (2, 2), (2, 2))


def test_an_unknown_sampling():
    with pytest.raises(ValueError, match="sampling must be '2d', '1d' or 'grid', not '3d'"):
        stacks_of(tiles_of((2, 2), (2, 2)), (2, 2), (2, 2), "3d")

"""Numbers of relevance maps, and maps laid on the picture."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.core import Box, Grid, Size
from foveal.models.relevance.numbers import (
    coverage,
    duplicate_groups,
    duplicates,
    effective_queries,
    localisation,
    localisation_in_any,
    peak,
)
from foveal.models.relevance.on_picture import laid_on, map_grid


def test_duplicates_are_queries_that_look_at_the_same():
    table = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0.95, 0.05, 0, 0], [0, 0, 0, 1], [0, 1.2, 0.1, 0]])
    assert duplicates(table) == pytest.approx(2 / 10)
    assert duplicate_groups(table) == [[0, 2], [1, 4]]
    assert duplicates(torch.eye(6)) == 0
    assert duplicates(torch.ones(6, 4)) == 1
    assert duplicates(torch.ones(1, 4)) == 0
    assert duplicate_groups(torch.zeros(3, 4)) == []


def test_alike_through_a_third_query_is_one_group():
    angles = torch.tensor([0.0, 0.4, 0.8, 1.5])
    table = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert duplicate_groups(table) == [[0, 1, 2]]  # cos 0.8 is below 0.9, cos 0.4 above


def test_coverage_is_what_some_query_looks_at():
    table = torch.tensor([[0.5, 0.5, 0, 0], [0.6, 0, 0.4, 0]])
    assert coverage(table) == 0.75
    assert coverage(torch.full((3, 4), 0.25)) == 0


def test_effective_queries_count_what_is_no_mixture():
    assert effective_queries(torch.eye(5)) == pytest.approx(5)
    assert effective_queries(torch.ones(5, 7)) == pytest.approx(1)
    assert effective_queries(torch.zeros(5, 7)) == 0
    two = torch.cat([torch.eye(2, 6)] * 3)
    assert effective_queries(two) == pytest.approx(2)


def test_localisation_is_the_share_in_a_box():
    found = np.zeros((4, 8), dtype=np.float32)
    found[1, 6], found[3, 0] = 3, 1
    picture = Size(16, 8)
    assert localisation(found, Box(12, 2, 14, 4), picture) == pytest.approx(0.75)
    assert localisation(found, Box(13, 2, 16, 4), picture) == pytest.approx(0.375)
    assert localisation(found, Box.whole(picture), picture) == pytest.approx(1)
    # Boxes that lie over each other count once.
    twice = [Box(12, 2, 14, 4), Box(12, 2, 14, 4), Box(13, 2, 14, 4)]
    assert localisation_in_any(found, twice, picture) == pytest.approx(0.75)
    halves = [Box(0, 0, picture.width, 4), Box(0, 4, picture.width, picture.height)]
    assert localisation_in_any(found, halves, picture) == pytest.approx(1)
    assert localisation_in_any(found, [], picture) == 0
    assert localisation(np.zeros_like(found), Box.whole(picture), picture) == 0
    assert peak(found, picture) == (13, 3)


SIDE = st.integers(1, 6)
PLACE = st.floats(-50, 150, allow_nan=False)


@settings(deadline=None)
@given(st.integers(1, 700), st.integers(1, 700))
def test_a_map_has_the_shape_of_its_picture(width, height):
    grid = map_grid(Size(width, height))
    assert max(grid) == min(max(width, height), 512)
    assert grid.columns / grid.rows == pytest.approx(width / height, rel=1 / min(grid))


@settings(deadline=None)
@given(st.data())
def test_nothing_is_lost_inside_of_the_picture(data):
    rows, columns = data.draw(SIDE), data.draw(SIDE)
    picture = Size(data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90)))
    values = torch.rand(rows, columns, dtype=torch.float64)
    left, right = sorted(data.draw(st.tuples(*[st.floats(0, picture.width)] * 2)))
    top, bottom = sorted(data.draw(st.tuples(*[st.floats(0, picture.height)] * 2)))
    if right - left < 0.1 or bottom - top < 0.1:
        return
    laid = laid_on(values, Box(left, top, right, bottom), picture, Grid(data.draw(SIDE), data.draw(SIDE)))
    assert laid.min() >= 0
    torch.testing.assert_close(laid.sum(), values.sum(), atol=1e-9, rtol=1e-9)


def test_what_lies_on_padding_is_left_out():
    values = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    laid = laid_on(values, Box(-20, 0, 20, 10), Size(20, 10), Grid(10, 20))
    # The boundary runs between the second and the third cell, whose tents reach an eighth of their area across it.
    torch.testing.assert_close(laid.sum(), torch.tensor(2 / 8 + 4 * 7 / 8 + 8, dtype=torch.float64))
    beyond = laid_on(values, Box(30, 0, 70, 10), Size(20, 10), Grid(10, 20))
    assert not beyond.any()


def test_cells_are_interpolated_as_torch_does():
    values = torch.rand(3, 5, dtype=torch.float64)
    laid = laid_on(values, Box(0, 0, 500, 300), Size(500, 300), Grid(300, 500))
    expected = torch.nn.functional.interpolate(values[None, None], size=(300, 500), mode="bilinear")[0, 0]
    torch.testing.assert_close(laid * 100 * 100, expected, atol=1e-4, rtol=0)

"""Sizes, grids and boxes: what they accept, how they are printed, and that a type checker distinguishes them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foveal.core import Box, Grid, Size, build, describe

SIDES = st.integers(1, 5000)
SWAPPED = """
from foveal.core import Grid, Size

def area(size: Size) -> int: ...
def cells(grid: Grid) -> int: ...

area(Size(1, 2))
cells(Grid(1, 2))
area(Grid(1, 2))
cells(Size(1, 2))
area((1, 2))
cells((1, 2))
"""


class Placed:
    """A part that keeps a grid and several sizes."""

    def __init__(self, grid: Grid, sizes: tuple[Size, ...] = ()) -> None:
        self.grid, self.sizes = Grid.of(grid), tuple(Size.of(size) for size in sizes)


@given(SIDES, SIDES)
def test_width_and_rows_come_first(first, second):
    size, grid = Size(first, second), Grid(first, second)
    assert (size.width, size.height, size.area, str(size)) == (first, second, first * second, f"{first}x{second}")
    assert (grid.rows, grid.columns, grid.cells, str(grid)) == (first, second, first * second, f"{first}x{second}")
    for pair in ([first, second], (first, second)):
        assert Size.of(pair) == size
        assert Grid.of(pair) == grid


def test_a_view_has_its_height_before_its_width():
    assert Size.of_view(torch.empty(3, 5, 7)) == Size.of_view(torch.empty(2, 3, 5, 7)) == Size(width=7, height=5)


BOXES = st.builds(lambda x, y, width, height: Box(x, y, x + width, y + height), *[st.integers(-9, 9)] * 2, *[SIDES] * 2)


@given(BOXES, BOXES, st.floats(-9, 99), st.floats(-9, 99))
def test_an_overlap_has_what_is_in_both_boxes(one, other, x, y):
    def holds(box):
        return box is not None and box.left < x < box.right and box.top < y < box.bottom

    shared = one.overlap(other)
    assert shared == other.overlap(one)
    assert holds(shared) == (holds(one) and holds(other))
    assert shared is None or 0 < shared.area <= min(one.area, other.area)


def test_boxes_that_touch_have_no_overlap():
    assert Box(0, 0, 4, 4).overlap(Box(4, 0, 8, 4)) is None
    assert Box(0, 0, 4, 4).overlap(Box(0, 4, 4, 8)) is None
    assert Box(-5, -5, 5, 3).overlap(Box.whole(Size(4, 4))) == Box(0, 0, 4, 3)


@pytest.mark.parametrize("pair", [(1,), (1, 2, 3), (1.0, 2), "12", 12, None, {"rows": 1, "columns": 2}])
def test_what_is_no_pair_of_whole_numbers(pair):
    with pytest.raises(ValueError, match=r"a size is \(width, height\), two whole numbers, not "):
        Size.of(pair)
    with pytest.raises(ValueError, match=r"a grid is \(rows, columns\), two whole numbers, not "):
        Grid.of(pair)


def test_described_as_plain_lists_and_built_again():
    described = describe(Placed(Grid(2, 3), (Size(40, 30), Size(5, 7))))
    assert described["init_args"] == {"grid": [2, 3], "sizes": [[40, 30], [5, 7]]}
    assert type(described["init_args"]["grid"]) is list
    again = build(described, allow=[__name__.split(".")[0]])
    assert (again.grid, again.sizes) == (Grid(rows=2, columns=3), (Size(width=40, height=30), Size(5, 7)))


@pytest.mark.slow
def test_a_checker_tells_them_apart(tmp_path):
    api = pytest.importorskip("mypy.api")
    (tmp_path / "swapped.py").write_text(SWAPPED)
    out, _, _ = api.run(["--follow-imports=silent", "--no-incremental", str(tmp_path / "swapped.py")])
    lines = [int(line.split(":")[1]) for line in out.splitlines() if "[arg-type]" in line]
    assert lines == [9, 10, 11, 12], out

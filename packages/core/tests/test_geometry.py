"""Sizes and grids: what they accept, how they are printed, and that a type checker distinguishes them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foveal.core import Grid, Size, build, describe

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

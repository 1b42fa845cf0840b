"""Plain values against the types of a signature."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import pytest
from torch import nn

from foveal.core import check_values, fits, hints_of


class Pair(NamedTuple):
    first: int
    second: int


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [3, -1, 10**30], [3.0, True, "3", None, (3,)]),
        (float, [3, 3.5], [True, "3.5", None]),
        (str, [""], [3, None]),
        (bool, [True], [1, "true"]),
        (None, [None], [0, ""]),
        (int | None, [3, None], ["3", 3.5]),
        (int | Sequence[int], [3, (3, 4), [3], ()], ["3", ("3",), None]),
        (tuple[int, int], [(1, 2)], [(1,), (1, 2, 3), (1, "2"), 3]),
        (tuple[int, ...], [(), (1,), (1, 2, 3)], [(1, "2"), None]),
        (tuple[tuple[int, int], ...], [((1, 2), (3, 4))], [((1, 2), 3)]),
        (Literal["a", "b"], ["a"], ["c", None, ("a",), {}]),
        (Pair, [(1, 2)], [3, "ab"]),
        (Sequence[nn.Module], [(nn.Identity(),), nn.ModuleList()], ["ab", 3, (3,)]),
        (nn.Module, [nn.Identity()], [3, "encoder", None]),
        (Any, [3, None, ""], []),
        (Callable[[int], int], [len, nn.Identity()], []),
    ],
)
def test_fits(hint, good, bad):
    assert [value for value in good if not fits(value, hint)] == []
    assert [value for value in bad if fits(value, hint)] == []


class Part:
    def __init__(self, width: int, kind: Literal["a"] | None = None, other: "Nowhere" = 1) -> None:  # noqa: F821
        pass


def test_what_is_said():
    check_values({"width": int}, {"width": 3, "unknown": None}, source="a.yaml")
    with pytest.raises(ValueError, match=r"^a\.yaml: kind is 3, but must be 'a' or null$"):
        check_values({"kind": Literal["a"] | None}, {"kind": 3}, source="a.yaml")
    with pytest.raises(ValueError, match=r"^a\.yaml: width is 'x{59}, but must be int$"):
        check_values({"width": int}, {"width": "x" * 1000}, source="a.yaml")


def test_types_that_cannot_be_told_are_not_asked():
    assert hints_of(Part) == {}
    assert hints_of(nn.Identity) == {"args": Any, "kwargs": Any, "return": type(None)}

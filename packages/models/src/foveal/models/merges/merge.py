"""The interface of a merge: from the tokens of a picture's views to the input of the language model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from foveal.core import Grid, Size, typed_as


@dataclass(frozen=True)
class Merged:
    """One picture as input of the language model.

    Attributes:
        tokens: [tokens, width], written over the picture's placeholders.
        stacks: [tokens, width] each, added at the same positions to the input of the merge's `layers`, one per layer.

    Raises:
        ValueError: if a stack does not have the shape of the tokens.
    """

    tokens: Tensor
    stacks: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        shapes = [list(stack.shape) for stack in self.stacks]
        if self.tokens.ndim != 2 or any(shape != list(self.tokens.shape) for shape in shapes):
            raise ValueError(
                "tokens and stacks of a picture must have one shape [tokens, width], not "
                f"{list(self.tokens.shape)} and {shapes}"
            )


class Merge(nn.Module, ABC):
    """Joins the tokens of all views of a picture into one run; without a merge every view is a separate run.

    The first argument of every merge's constructor is `width`, the channels of the language model.

    Attributes:
        width: channels of the language model.
        levels: number of token levels that it takes, as many as the connector returns.
        layers: decoder layers that the stacks enter, in the order of the stacks.
        on_grid: whether the tokens of a picture form one grid, see `grid`. A language model with multimodal rotary
            positions (M-RoPE) then gets their rows and columns; any other one counts them like text.
        tables: names of its own parameters whose rows are used one by one, see `foveal.core.tables_of`.
    """

    tables: ClassVar[tuple[str, ...]] = ()
    width: int
    levels: int = 1
    layers: tuple[int, ...] = ()
    on_grid: bool = False

    @abstractmethod
    def num_tokens(self, grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> int:
        """The number of tokens of a picture, without running the merge.

        Args:
            grids: rows and columns of the tokens of each view, in the plan's order.
            tile_grid: rows and columns of the tiles after the overview; None: the views do not form a plane.
            size: size of the picture in pixels.

        Raises:
            ValueError: if such views cannot be merged.
        """

    def grid(self, grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> Grid:
        """Rows and columns of a picture's tokens, if they are `on_grid`; arguments are those of `num_tokens`."""
        raise NotImplementedError(f"the tokens of {type(self).__name__} do not form one grid")

    @abstractmethod
    def forward(self, tokens: Sequence[Tensor], grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> Merged:
        """Merge one picture: [rows*columns, width] per view -> `Merged` with [num_tokens, width].

        Args:
            tokens: [rows*columns, width] of each view, or [levels, rows*columns, width] if `levels` is above 1.
            grids: as for `num_tokens`.
            tile_grid: as for `num_tokens`.
            size: as for `num_tokens`.

        Raises:
            ValueError: if such views cannot be merged.
        """

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...


def overview_and_tiles(name: str, grids: Sequence[Grid], tile_grid: Grid | None, *, sets: int = 1) -> tuple[Grid, Grid]:
    """Check that the views are an overview and its tiles; return the grid of each view and the grid of the tiles.

    Args:
        name: name of the merge, for messages.
        grids: rows and columns of the tokens of each view.
        tile_grid: rows and columns of the tiles.
        sets: number of views for the overview and for every tile.

    Raises:
        ValueError: if the views are not an overview and its tiles, or if their grids differ.
    """
    if tile_grid is None:
        raise ValueError(
            f"{name} joins an overview and tiles that form a plane; the plan's views do not "
            "(AnyResPlan and DeepStackPlan make such views)"
        )
    expected = (1 + tile_grid[0] * tile_grid[1]) * sets
    if len(grids) != expected:
        raise ValueError(
            f"{name} takes {expected} views for {tile_grid[0]}x{tile_grid[1]} tiles, the plan makes {len(grids)}"
        )
    if len(set(grids)) > 1:
        raise ValueError(f"{name} takes views with the same grid of tokens, they have {sorted(set(grids))}")
    return grids[0], tile_grid

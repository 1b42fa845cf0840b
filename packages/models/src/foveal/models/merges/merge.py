"""What every merge promises: from the tokens of a picture's views to what the language model reads."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from foveal.core import Grid, Size


@dataclass(frozen=True)
class Merged:
    """One picture for the language model.

    Attributes:
        tokens: [tokens, width], written over the picture's placeholders.
        stacks: [tokens, width] each, added at the same places to what enters the merge's `layers`, one after the other.

    Raises:
        ValueError: if a stack has not the shape of the tokens.
    """

    tokens: Tensor
    stacks: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        shapes = [list(stack.shape) for stack in self.stacks]
        if self.tokens.ndim != 2 or any(shape != list(self.tokens.shape) for shape in shapes):
            raise ValueError(
                f"tokens and stacks of a picture are [tokens, width], all alike, not {list(self.tokens.shape)} and "
                f"{shapes}"
            )


class Merge(nn.Module, ABC):
    """Makes one run of tokens of all views of a picture; without a merge every view is a run of its own.

    The constructor of every merge begins with `width`, the channels of the language model.

    Attributes:
        width: channels of the language model.
        levels: of the connector's tokens that it takes, as many as the connector gives.
        layers: decoder layers that stacks enter, the first stack the first.
        tables: names of its own parameters whose rows are used one by one, see `foveal.core.tables_of`.
    """

    tables: ClassVar[tuple[str, ...]] = ()
    width: int
    levels: int = 1
    layers: tuple[int, ...] = ()

    @abstractmethod
    def num_tokens(self, grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> int:
        """Tokens of a picture; nothing is computed.

        Args:
            grids: rows and columns of the tokens of each view, in the plan's order.
            tile_grid: rows and columns of the tiles behind the overview; None: the views lie in no plane.
            size: of the picture in pixels.

        Raises:
            ValueError: if such views cannot be merged.
        """

    @abstractmethod
    def forward(self, tokens: Sequence[Tensor], grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> Merged:
        """One picture.

        Args:
            tokens: [rows*columns, width] of each view, with several `levels` [levels, rows*columns, width]; the other
                arguments are those of `num_tokens`.

        Raises:
            ValueError: if such views cannot be merged.
        """


def overview_and_tiles(name: str, grids: Sequence[Grid], tile_grid: Grid | None, *, sets: int = 1) -> tuple[Grid, Grid]:
    """The grid of every view and the grid of the tiles, checked.

    Args:
        name: of the merge, for messages.
        grids: rows and columns of the tokens of each view.
        tile_grid: rows and columns of the tiles.
        sets: how many views there are for the overview and for every tile.

    Raises:
        ValueError: if the views are not an overview and its tiles, or differ in their grids.
    """
    if tile_grid is None:
        raise ValueError(
            f"{name} joins an overview and tiles that lie in a plane; the plan's views do not "
            "(AnyResPlan and DeepStackPlan make such views)"
        )
    expected = (1 + tile_grid[0] * tile_grid[1]) * sets
    if len(grids) != expected:
        raise ValueError(
            f"{name} takes {expected} views for {tile_grid[0]}x{tile_grid[1]} tiles, the plan makes {len(grids)}"
        )
    if len(set(grids)) > 1:
        raise ValueError(f"{name} takes views of one grid of tokens, they have {sorted(set(grids))}")
    return grids[0], tile_grid

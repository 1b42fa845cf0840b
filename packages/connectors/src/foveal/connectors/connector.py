"""The interface of every connector, and a helper for ragged views."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from math import isqrt
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from foveal.core import Grid, group_by, typed_as

Widths = int | tuple[int, ...]


class Connector(nn.Module, ABC):
    """Turns the feature maps of views into language-model tokens.

    The constructor of every connector begins with `in_width, out_width`: the channels of the encoder's map (a tuple for
    several maps) and those of the language model.

    Attributes:
        in_width: channels of the features; a tuple for connectors that join several maps.
        out_width: channels of the language model.
        levels: how many values `forward` returns per token, for example from several layers of the encoder. The first
            level enters the language model; a merge decides what happens to the others (Qwen3-VL adds them to decoder
            layers).
        prefix_tokens: rows of each map before those of its grid, such as a class token.
        supports_mask: whether `forward` accepts a mask over the rows of the map.
        needs_grid: whether the rows and columns of the features matter.
        tables: names of its parameters whose rows are used one by one, see `foveal.core.tables_of`.
    """

    tables: ClassVar[tuple[str, ...]] = ()
    in_width: Widths
    out_width: int
    levels: int = 1
    prefix_tokens: int = 0
    supports_mask: bool = False
    needs_grid: bool = True

    @property
    def in_widths(self) -> tuple[int, ...]:
        """Channels of every map it takes, in order."""
        return (self.in_width,) if isinstance(self.in_width, int) else self.in_width

    @abstractmethod
    def num_tokens(self, *grids: Grid) -> int:
        """Number of tokens for a view whose maps have these grids (rows, columns); known without running anything.

        Raises:
            ValueError: if the connector cannot take such grids.
        """

    @abstractmethod
    def out_grid(self, *grids: Grid) -> Grid | None:
        """Rows and columns of the tokens; None if they have no order in the plane."""

    @abstractmethod
    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """Compute the tokens of views that share the same grids.

        Args:
            maps: [views, prefix_tokens + rows*columns, width of the map] each, row by row.
            grids: (rows, columns) of each map.
            mask: bool [views, prefix_tokens + rows*columns], True for rows that count; only if `supports_mask`.

        Returns:
            [views, num_tokens(*grids), out_width]; with several levels [views, levels, num_tokens(*grids), out_width].

        Raises:
            ValueError: if there are not as many maps as `in_widths`, a grid is empty, a map does not have the rows of
                its grid, or a mask is not supported.
        """

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """How much every patch of one view counts in every token, for relevance maps (`foveal.connectors.relevance`).

        Without attention it is what the token is made of: the rows of all maps together sum to 1, or to 0 for a token
        that comes from no patch. With attention it is what the token has read, composed by the rules.

        Args:
            grids: (rows, columns) of each map.
            seen: weights of the attention calls of `forward`, in their order, [sequences of the view, queries, keys]
                each: contributions to a score, or means over heads. Every connector takes those of its own calls.

        Returns:
            [levels * tokens, prefix_tokens + rows*columns] for each map, level after level, float64; None if it is not
            known, as for connectors that do not say: then gradients are used instead.
        """
        return None

    def checked(
        self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None
    ) -> tuple[Sequence[Tensor], Sequence[Grid]]:
        """Return the arguments of `forward`, or raise its ValueError if they are not what it accepts."""
        name, wanted = type(self).__name__, len(self.in_widths)
        if len(maps) != wanted or len(grids) != wanted:
            number = "one map with its grid" if wanted == 1 else f"{wanted} maps with their grids"
            raise ValueError(f"{name} takes {number}, not {len(maps)} maps and {len(grids)} grids")
        for features, grid, width in zip(maps, grids, self.in_widths, strict=True):
            if min(grid) < 1:
                raise ValueError(f"{name} needs a grid of at least 1x1, not {grid[0]}x{grid[1]}")
            rows = self.prefix_tokens + grid[0] * grid[1]
            if features.ndim != 3 or features.shape[1:] != (rows, width):
                raise ValueError(
                    f"{name} takes [views, {rows}, {width}] for a grid of {grid[0]}x{grid[1]} and "
                    f"{self.prefix_tokens} prefix tokens, not {tuple(features.shape)}"
                )
        if mask is not None and not self.supports_mask:
            raise ValueError(f"{name} takes no mask: group views by grid instead of padding them")
        if mask is not None and (mask.shape != maps[0].shape[:2] or mask.dtype != torch.bool):
            raise ValueError(f"the mask must be bool {tuple(maps[0].shape[:2])}, not {mask.dtype} {tuple(mask.shape)}")
        return maps, grids

    def check_tokens(self, tokens: Tensor, views: int, grids: Sequence[Grid]) -> None:
        """Refuse a result of `forward` that does not have the promised shape.

        Args:
            tokens: the result.
            views: number of views in the input.
            grids: (rows, columns) of each map.

        Raises:
            ValueError: naming both shapes.
        """
        levels = () if self.levels == 1 else (self.levels,)
        promised = (views, *levels, self.num_tokens(*grids), self.out_width)
        if tuple(tokens.shape) != promised:
            raise ValueError(
                f"{type(self).__name__} promises {list(promised)} for grids {list(grids)} (views, levels if there are "
                f"several, tokens, width), but its forward returned {list(tokens.shape)}"
            )

    def single(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None) -> tuple[Tensor, Grid]:
        """Return the only map and its grid, checked; for connectors that take one map."""
        self.checked(maps, grids, mask)
        return maps[0], grids[0]


def one_width(in_width: Widths) -> int:
    """The channels of the only map.

    Raises:
        ValueError: if there are several maps.
    """
    if isinstance(in_width, int):
        return in_width
    if len(in_width) != 1:
        raise ValueError(
            f"the encoder returns {len(in_width)} maps of widths {tuple(in_width)}, but the connector takes one: ask "
            "the encoder for one layer, or join the maps first (Chain with a fuser, Parallel)"
        )
    return in_width[0]


def several_widths(in_width: Widths, *, equal: bool = False) -> tuple[int, ...]:
    """The channels of every map.

    Raises:
        ValueError: if there is only one map, or the widths must be `equal` and are not.
    """
    widths = (in_width,) if isinstance(in_width, int) else tuple(in_width)
    if len(widths) < 2:
        raise ValueError(
            f"the encoder returns one map of width {widths[0]}, but several are needed here: ask it for more layers, "
            "or use several encoders"
        )
    if equal and len(set(widths)) > 1:
        raise ValueError(f"the maps must have one width to be joined here, but have {widths}")
    return widths


def square_side(queries: int) -> int:
    """The rows, and columns, of queries that form a square.

    Raises:
        ValueError: if they do not.
    """
    side = isqrt(max(queries, 0))
    if queries < 1 or side * side != queries:
        raise ValueError(f"queries must form a square grid: {queries} is not a square number")
    return side


def grouped(connector: Connector, maps: Sequence[Sequence[Tensor]], grids: Sequence[Sequence[Grid]]) -> list[Tensor]:
    """Compute the tokens of views with any grids, with one dense call per grid; the same numbers as one by one.

    Args:
        connector: any connector.
        maps: the maps of each view, [prefix_tokens + rows*columns, in_width] each.
        grids: the grids of each view's maps.

    Returns:
        [tokens, out_width] for each view (with several levels [levels, tokens, out_width]), in the order of `maps`.

    Raises:
        ValueError: if there are not as many grids as views, the rows of a view's maps do not match their grids, or the
            connector returns tokens of another shape than it promises.
    """
    if len(maps) != len(grids):
        raise ValueError(f"{len(maps)} views, {len(grids)} grids")
    for number, (of_view, grids_of_view) in enumerate(zip(maps, grids, strict=True)):
        found = [len(each) for each in of_view]
        wanted = [connector.prefix_tokens + rows * columns for rows, columns in grids_of_view]
        if found != wanted:
            raise ValueError(f"view {number}: its maps have {found} rows, but its grids need {wanted}")
    tokens: list[Tensor] = [torch.empty(0)] * len(maps)
    for of_views, indices in group_by(tuple(of_view) for of_view in grids).items():
        stacked = [torch.stack(layer) for layer in zip(*(maps[index] for index in indices), strict=True)]
        results = connector(stacked, of_views)
        connector.check_tokens(results, len(indices), of_views)
        for index, result in zip(indices, results, strict=True):
            tokens[index] = result
    return tokens

"""Connectors built from connectors."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from foveal.connectors.connector import Connector, Widths, several_widths
from foveal.core import Grid

Stage = Callable[[Widths], Connector]
Last = Callable[[Widths, int], Connector]


class Chain(Connector):
    """Connectors in sequence: stages in the encoder's feature space (fusers, pools), then a connector.

    Args:
        in_width: channels of the map; a tuple for several maps.
        out_width: channels of the language model.
        stages: connectors, or callables such as the class `MMFuser`, called with the width of their input.
        last: a connector, or a callable, called with the last stage's width and `out_width`.

    Raises:
        ValueError: if there is no stage, or a stage does not fit the one before or has several levels.
    """

    def __init__(
        self, in_width: Widths, out_width: int, *, stages: Sequence[Stage | Connector], last: Last | Connector
    ) -> None:
        super().__init__()
        if not stages:
            raise ValueError("a chain needs at least one stage; without any, use the last connector alone")
        self.in_width, self.out_width = in_width, out_width
        width, built = in_width, []
        for stage in stages:
            built.append(stage if isinstance(stage, Connector) else stage(width))
            width = built[-1].out_width
        self.stages = nn.ModuleList(built)
        self.last = last if isinstance(last, Connector) else last(width, out_width)
        widths = [self.in_widths, *((each.out_width,) for each in built)]
        for part, given in zip(self.parts, widths, strict=True):
            if part.in_widths != given:
                raise ValueError(f"{type(part).__name__} takes widths {part.in_widths}, but receives {given}")
        if several := [type(part).__name__ for part in built if part.levels > 1]:
            raise ValueError(f"{', '.join(several)} gives several levels, which only the last part of a chain may")
        if self.last.prefix_tokens:
            raise ValueError("the input of the last part has no class token: set its prefix_tokens to 0")
        self.in_width = in_width if isinstance(in_width, int) else tuple(in_width)
        self.prefix_tokens, self.levels = built[0].prefix_tokens, self.last.levels
        self.supports_mask = False

    @property
    def parts(self) -> list[Connector]:
        """All stages and the last connector, in order."""
        return [part for part in (*self.stages, self.last) if isinstance(part, Connector)]

    def num_tokens(self, *grids: Grid) -> int:
        return self.last.num_tokens(self._before_last(grids)[0])

    def out_grid(self, *grids: Grid) -> Grid | None:
        before, in_order = self._before_last(grids)
        return self.last.out_grid(before) if in_order else None

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, prefix_tokens + cells, width] per map -> [views, (levels,) tokens, out_width]."""
        self.checked(maps, grids, mask)
        for stage, following in zip(self.parts[:-1], self.parts[1:], strict=True):
            maps, grids = [stage(maps, grids)], [self._after(stage, following, grids)[0]]
        result: Tensor = self.last(maps, grids)
        return result

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """The product of all parts'; None if one of them does not know."""
        first: list[Tensor] | None = None
        for part, following in zip(self.parts, [*self.parts[1:], None], strict=True):
            own = part.token_to_patch(grids, seen)
            if own is None:
                return None
            first = own if first is None else [own[0] @ each for each in first]
            if following is not None:
                grids = [self._after(part, following, grids)[0]]
        return first

    def _before_last(self, grids: Sequence[Grid]) -> tuple[Grid, bool]:
        """The grid that the last part receives, and whether its cells are still positions in the view."""
        in_order = True
        for stage, following in zip(self.parts[:-1], self.parts[1:], strict=True):
            grid, kept = self._after(stage, following, grids)
            grids, in_order = [grid], in_order and kept
        return grids[0], in_order

    @staticmethod
    def _after(stage: Connector, following: Connector, grids: Sequence[Grid]) -> tuple[Grid, bool]:
        grid = stage.out_grid(*grids)
        if grid is not None:
            return grid, True
        tokens = stage.num_tokens(*grids)
        if following.needs_grid:
            raise ValueError(
                f"{type(stage).__name__} gives {tokens} tokens without rows and columns, which "
                f"{type(following).__name__} needs: use an MlpProjector or a query connector after it"
            )
        return Grid(1, tokens), False


class Parallel(Connector):
    """One connector per map, in parallel: for several encoders, or for several layers.

    `join` says how their results are combined:

        channels: concatenated along channels, `out_width` divided among them (Vary, arXiv 2312.06109, section 3.3)
        tokens: concatenated along tokens
        interleave: first tokens of all, second tokens of all, ... (MMVP, arXiv 2401.06209, section 4.2)
        levels: each result is a level, in the order of the maps (DeepStack of Qwen3-VL, arXiv 2511.21631)

    Args:
        in_width: channels of every map.
        out_width: channels of the language model.
        branches: one per map: a connector, or a callable, called with the map's width and its share of `out_width`.
        join: see above.

    Raises:
        ValueError: if there are not as many branches as maps, the width does not divide, or the branches differ in
            their levels and are not joined by levels.
    """

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        branches: Sequence[Last | Connector],
        join: Literal["channels", "tokens", "interleave", "levels"] = "channels",
    ) -> None:
        super().__init__()
        self.in_width = several_widths(in_width)
        if len(branches) != len(self.in_width):
            raise ValueError(f"{len(branches)} branches for {len(self.in_width)} maps: each map needs one")
        if join not in ("channels", "tokens", "interleave", "levels"):
            raise ValueError(f"join must be channels, tokens, interleave or levels, not {join!r}")
        if join == "channels" and out_width % len(branches):
            raise ValueError(f"{out_width} channels cannot be divided among {len(branches)} branches")
        self.out_width, self.join = out_width, join
        share = out_width // len(branches) if join == "channels" else out_width
        self.branches = nn.ModuleList(
            branch if isinstance(branch, Connector) else branch(width, share)
            for branch, width in zip(branches, self.in_width, strict=True)
        )
        for branch, width in zip(self.parts, self.in_width, strict=True):
            if (branch.in_widths, branch.out_width) != ((width,), share):
                raise ValueError(
                    f"{type(branch).__name__} turns {branch.in_widths} into {branch.out_width}, not "
                    f"{width} into {share}"
                )
        self.prefix_tokens = self.parts[0].prefix_tokens
        levels = [branch.levels for branch in self.parts]
        if join != "levels" and len(set(levels)) > 1:
            raise ValueError(f"the branches give {levels} levels, which can be joined by levels only, not by {join}")
        self.levels = sum(levels) if join == "levels" else levels[0]

    @property
    def parts(self) -> list[Connector]:
        """The branches, typed as connectors."""
        return [branch for branch in self.branches if isinstance(branch, Connector)]

    def num_tokens(self, *grids: Grid) -> int:
        counts = [branch.num_tokens(grid) for branch, grid in zip(self.parts, grids, strict=True)]
        if self.join != "tokens" and len(set(counts)) > 1:
            raise ValueError(f"the branches give {counts} tokens, which cannot be joined by {self.join}")
        planes = {branch.out_grid(grid) for branch, grid in zip(self.parts, grids, strict=True)} - {None}
        if self._in_place and len(planes) > 1:
            raise ValueError(f"the branches' tokens are on different grids: {sorted(planes, key=str)}")
        return counts[0] if self._in_place else sum(counts)

    def out_grid(self, *grids: Grid) -> Grid | None:
        found = {branch.out_grid(grid) for branch, grid in zip(self.parts, grids, strict=True)}
        return found.pop() if self._in_place and len(found) == 1 else None

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, prefix_tokens + cells, width] per map -> [views, (levels,) tokens, out_width]."""
        maps, grids = self.checked(maps, grids, mask)
        self.num_tokens(*grids)
        tokens = [branch([features], [grid]) for branch, features, grid in zip(self.parts, maps, grids, strict=True)]
        if self.join == "levels":
            return torch.cat([each.unsqueeze(1) if each.ndim == 3 else each for each in tokens], dim=1)
        if self.join == "interleave":
            return torch.stack(tokens, dim=-2).flatten(-3, -2)
        return torch.cat(tokens, dim=-1 if self.join == "channels" else -2)

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """Each branch's, of its own map; of joined channels, every branch has as many."""
        own: list[Tensor] = []
        for branch, grid in zip(self.parts, grids, strict=True):
            of_branch = branch.token_to_patch([grid], seen)
            if of_branch is None:
                return None
            own += of_branch
        if self.join == "channels":
            return [each / len(own) for each in own]
        if self.join == "interleave":
            number = len(own)
            return [torch.kron(each, torch.eye(number).double()[:, place, None]) for place, each in enumerate(own)]
        return list(torch.block_diag(*own).split([each.shape[1] for each in own], dim=1))

    @property
    def _in_place(self) -> bool:
        """Whether results are joined position by position, so that there are as many tokens as from one branch."""
        return self.join in ("channels", "levels")

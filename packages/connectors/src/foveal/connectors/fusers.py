"""Join several maps into one without attention: average, concatenation, Dense Connector."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from foveal.connectors.connector import Connector, Widths, several_widths
from foveal.core import Grid

MERGED = 8


class Fuser(Connector):
    """A stage of a `Chain` that joins several maps on one grid; the width of the result follows from theirs."""

    def num_tokens(self, *grids: Grid) -> int:
        rows, columns = self.one_grid(grids)
        return rows * columns

    def out_grid(self, *grids: Grid) -> Grid | None:
        return self.one_grid(grids)

    def one_grid(self, grids: Sequence[Grid]) -> Grid:
        """The grid of all maps.

        Raises:
            ValueError: if they differ.
        """
        if len(set(grids)) > 1:
            raise ValueError(f"{type(self).__name__} joins maps cell by cell, but their grids differ: {list(grids)}")
        return grids[0]


class Average(Fuser):
    """The mean of the maps (MMFuser, arXiv 2410.11829, table 1; additive mixture of features, MMVP, arXiv 2401.06209,
    section 4.1).

    Args:
        in_width: channels of every map, all equal.
        shares: weight of each map; by default all equal.
        learn_shares: whether the shares are learned, as the softmax of one number per map.

    Raises:
        ValueError: if widths differ, there are not as many shares as maps, or learned shares are not positive.
    """

    def __init__(
        self, in_width: Widths, *, shares: tuple[float, ...] | None = None, learn_shares: bool = False
    ) -> None:
        super().__init__()
        self.in_width = several_widths(in_width, equal=True)
        self.out_width = self.in_width[0]
        if shares is not None and (len(shares) != len(self.in_width) or (learn_shares and min(shares) <= 0)):
            raise ValueError(
                f"shares {tuple(shares)} for {len(self.in_width)} maps: each map needs one, above 0 if they are learned"
            )
        self.shares, self.learn_shares = None if shares is None else tuple(shares), learn_shares
        begun = (
            torch.tensor(shares) if shares is not None else torch.full((len(self.in_width),), 1 / len(self.in_width))
        )
        self.logits = nn.Parameter(begun.log()) if learn_shares else None
        self.register_buffer("fixed", begun, persistent=False)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, width] per map -> [views, cells, width]."""
        maps, grids = self.checked(maps, grids, mask)
        self.one_grid(grids)
        return torch.stack(
            [share * features for share, features in zip(self._weights().to(maps[0]), maps, strict=True)]
        ).sum(0)

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """The maps by the sizes of their shares."""
        weights = self._weights().detach().abs().double().cpu()
        return [share * own_cells(grids) for share in weights / weights.sum()]

    def _weights(self) -> Tensor:
        """The share of each map, [maps]."""
        return self.get_buffer("fixed") if self.logits is None else self.logits.softmax(dim=0)


class ConcatChannels(Fuser):
    """Concatenate the maps along channels; the result is as wide as all of them together."""

    def __init__(self, in_width: Widths) -> None:
        super().__init__()
        self.in_width = several_widths(in_width)
        self.out_width = sum(self.in_width)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, width] per map -> [views, cells, sum of widths]."""
        maps, grids = self.checked(maps, grids, mask)
        self.one_grid(grids)
        return torch.cat(list(maps), dim=-1)

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        return [own_cells(grids) / len(grids)] * len(grids)


class ConcatTokens(Fuser):
    """Concatenate the maps along tokens; the result is as long as all of them together. Grids may differ."""

    def __init__(self, in_width: Widths) -> None:
        super().__init__()
        self.in_width = several_widths(in_width, equal=True)
        self.out_width = self.in_width[0]

    def num_tokens(self, *grids: Grid) -> int:
        return sum(rows * columns for rows, columns in grids)

    def out_grid(self, *grids: Grid) -> Grid | None:
        return None

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, width] per map -> [views, sum of cells, width]."""
        return torch.cat(list(self.checked(maps, grids, mask)[0]), dim=1)

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        cells = [rows * columns for rows, columns in grids]
        return list(torch.eye(sum(cells), dtype=torch.float64).split(cells, dim=1))


class DenseConnector(Fuser):
    """Shallow layers joined with the final one (Dense Connector, arXiv 2405.13800, section 3.2).

    The final map is the last. With [views, cells, width] per map the result is:

        sti: the tokens of the final map, then those of each other map averaged over 8 consecutive tokens (a remainder
            below 8 is dropped), [views, cells + (maps - 1) * (cells // 8), width]
        sci: the channels of the final map, then those of the other maps, [views, cells, maps * width]
        dci: the channels of the final map, of the mean of the first half of the maps, and of the mean of the second
            half, [views, cells, 3 * width]

    The published models use CLIP's layers 7, 15, 23 (sti, sci) and 0 to 23 (dci).

    Args:
        in_width: channels of every map, all equal.
        kind: `sti`, `sci` or `dci`, see above.
        final_in_mean: whether the second half includes the final map (CLIP); otherwise (SigLIP) no mean includes it.

    Raises:
        ValueError: if widths differ, the kind is unknown, or the maps of `dci` cannot be halved.
    """

    def __init__(
        self, in_width: Widths, *, kind: Literal["sti", "sci", "dci"] = "dci", final_in_mean: bool = True
    ) -> None:
        super().__init__()
        self.in_width = several_widths(in_width, equal=True)
        if kind not in ("sti", "sci", "dci"):
            raise ValueError(f"kind must be sti, sci or dci, not {kind!r}")
        self.kind, self.final_in_mean = kind, final_in_mean
        self.averaged = len(self.in_width) - (not final_in_mean)
        if kind == "dci" and (self.averaged % 2 or not self.averaged):
            raise ValueError(f"dci takes the means of two halves, but {self.averaged} maps cannot be halved")
        parts = {"sti": 1, "sci": len(self.in_width), "dci": 3}
        self.out_width = self.in_width[0] * parts[kind]

    def num_tokens(self, *grids: Grid) -> int:
        cells = super().num_tokens(*grids)
        return cells + (len(grids) - 1) * (cells // MERGED) if self.kind == "sti" else cells

    def out_grid(self, *grids: Grid) -> Grid | None:
        return None if self.kind == "sti" else super().out_grid(*grids)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, width] per map -> [views, num_tokens(*grids), out_width]."""
        maps, grids = self.checked(maps, grids, mask)
        self.one_grid(grids)
        final, others = maps[-1], list(maps[:-1])
        if self.kind == "sci":
            return torch.cat([final, *others], dim=-1)
        if self.kind == "sti":
            whole = final.shape[1] // MERGED * MERGED
            short = [other[:, :whole].unflatten(1, (-1, MERGED)).mean(dim=2) for other in others]
            return torch.cat([final, *short], dim=1)
        halves = torch.stack(list(maps[: self.averaged])).unflatten(0, (2, -1)).mean(dim=1)
        return torch.cat([final, *halves], dim=-1)

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """Parts of the channels count alike; of a mean, each of its maps by its share."""
        own, number = own_cells(grids), len(grids)
        if self.kind == "sci":
            return [own / number] * number
        if self.kind == "sti":
            short = own[: len(own) // MERGED * MERGED].unflatten(0, (-1, MERGED)).mean(dim=1)
            blocks = [own, *[short] * (number - 1)]
            rows = torch.block_diag(*blocks).split(len(own), dim=1)
            return [*rows[1:], rows[0]]
        in_mean = 2 / (3 * self.averaged)
        weights = [in_mean if place < self.averaged else 0.0 for place in range(number)]
        weights[-1] += 1 / 3
        return [weight * own for weight in weights]


def own_cells(grids: Sequence[Grid]) -> Tensor:
    """For tokens that are the cells of the first map one by one: [cells, cells], float64."""
    return torch.eye(grids[0][0] * grids[0][1], dtype=torch.float64)

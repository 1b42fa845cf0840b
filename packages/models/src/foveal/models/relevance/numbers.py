"""Numbers of relevance maps that are worth logging: how much queries repeat each other, and where relevance lies."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.core import Box, Size

ALIKE = 0.9
"""Cosine above which two queries count as duplicates."""


def duplicates(table: Tensor) -> float:
    """Share of the pairs of queries that look at nearly the same patches: cosine of their rows above 0.9; 0 for one
    query.

    Args:
        table: query to patch, [queries, patches], not below 0.
    """
    pairs = len(table) * (len(table) - 1)
    return (int(_alike(table).sum()) - len(table)) / pairs if pairs else 0.0


def duplicate_groups(table: Tensor) -> list[list[int]]:
    """The queries that repeat each other, in groups of at least two: each is like another one of its group.

    Args:
        table: as for `duplicates`.
    """
    alike, found, grouped = _alike(table), [], set[int]()
    for first in range(len(table)):
        if first in grouped:
            continue
        group, edge = {first}, {first}
        while edge:
            edge = {int(other) for query in edge for other in alike[query].nonzero()} - group
            group |= edge
        grouped |= group
        if len(group) > 1:
            found.append(sorted(group))
    return found


def coverage(table: Tensor) -> float:
    """Share of the patches that some query looks at more than at the average patch: largest value above 1 / patches.

    Args:
        table: query to patch, [queries, patches], rows with sum 1.
    """
    return float((table.amax(dim=0) > 1 / table.shape[1]).double().mean())


def effective_queries(table: Tensor) -> float:
    """Number of queries that are not mixtures of others: exp of the entropy of the normalised singular values; 0 if no
    query looks at anything.

    Args:
        table: as for `duplicates`.
    """
    values = torch.linalg.svdvals(table.double())
    total = values.sum()
    return float(torch.special.entr(values / total).sum().exp()) if total else 0.0


def localisation(relevance: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", box: Box, picture: Size) -> float:
    """Share of the relevance on a picture that lies in a box; 0 if there is no relevance at all.

    Args:
        relevance: a map over the whole picture, [rows, columns].
        box: in pixels of the picture.
        picture: its size.
    """
    return localisation_in_any(relevance, [box], picture)


def localisation_in_any(
    relevance: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", boxes: Sequence[Box], picture: Size
) -> float:
    """Share of the relevance on a picture that lies in any of some boxes; 0 if there is no relevance at all.

    Args:
        relevance: a map over the whole picture, [rows, columns].
        boxes: in pixels of the picture; of a value that several cut, the largest part counts.
        picture: its size.
    """
    rows, columns = relevance.shape
    inside = np.zeros(relevance.shape)
    for box in boxes:
        down = _inside(rows, box.top, box.bottom, picture.height)
        across = _inside(columns, box.left, box.right, picture.width)
        inside = np.maximum(inside, np.outer(down, across))
    total = relevance.sum(dtype=np.float64)
    return float((inside * relevance).sum() / total) if total else 0.0


def peak(relevance: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", picture: Size) -> tuple[float, float]:
    """The place of the largest value, as (x, y) in pixels of the picture.

    Args:
        relevance: a map over the whole picture, [rows, columns].
        picture: its size.
    """
    row, column = np.unravel_index(int(relevance.argmax()), relevance.shape)
    rows, columns = relevance.shape
    return (float(column) + 0.5) * picture.width / columns, (float(row) + 0.5) * picture.height / rows


def _alike(table: Tensor) -> Tensor:
    """Whether queries look at nearly the same, [queries, queries]; those that look at nothing are like none."""
    unit = F.normalize(table.double(), dim=1)
    return (unit @ unit.T > ALIKE) | torch.eye(len(table), dtype=torch.bool)


def _inside(pixels: int, start: float, end: float, length: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """The part of every pixel along one axis that lies between `start` and `end`, given in the picture's pixels."""
    edges = np.linspace(0, length, pixels + 1).clip(start, end)
    return np.diff(edges) * pixels / length

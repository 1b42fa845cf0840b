"""Maps of relevance, composed of the rules: text to query in the language model, query to patch in the connector."""

from collections.abc import Sequence
from math import isqrt

import torch
from torch import Tensor

from foveal.connectors.relevance.rules import crossed, mixed, rows_before
from foveal.connectors.windows import window_points, windows_matrix
from foveal.core import Grid


def text_to_query(layers: Sequence[Tensor], position: int, visual: Tensor) -> Tensor:
    """Relevance of the visual tokens, [queries], for the word predicted at `position`, the position before the word.

    `layers` are contributions in the language model, [tokens, tokens], in layer order; `visual` holds the positions of
    the visual tokens, [queries], or one bool per token. Raises ValueError if `layers` is empty, or a batch.
    """
    if not layers or any(weights.ndim != 2 for weights in layers):
        raise ValueError(f"{len(layers)} layers: give at least one, each [tokens, tokens] of one sample of the batch")
    *_, row = rows_before(torch.eye(len(layers[0])).to(layers[0])[position], layers)
    return row[visual]


def query_to_patch(layers: Sequence[tuple[Tensor | None, Tensor | None]], begun: Tensor | None = None) -> Tensor:
    """Relevance of the patches for each query, [queries, patches]; patches do not mix: R_pp = I.

    `layers` are contributions in the connector, in layer order: of queries to queries, then of queries to patches, None
    if a layer has no such attention. `begun` is the relevance before the first layer, by default zero. Raises
    ValueError if no layer attends to the patches, or `layers` are a batch.
    """
    first = next((cross for _, cross in layers if cross is not None), None)
    if first is None or first.ndim != 2:
        raise ValueError(f"{len(layers)} layers: one or more must attend to patches, [queries, patches] of one sample")
    among = torch.eye(first.shape[0]).to(first)
    patches = torch.zeros_like(first) if begun is None else begun.to(first)
    for own, cross in layers:
        if own is not None:
            among, patches = among + mixed(own, among), patches + mixed(own, patches)
        if cross is not None:
            patches = patches + crossed(cross, among, torch.eye(cross.shape[1]).to(cross))
    return patches


def latent_to_patch(layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """As `query_to_patch`, where each layer has one attention to queries and patches together (perceivers): its two
    parts, and all additions use the relevance from before the layer."""
    among = torch.eye(len(layers[0][0])).to(layers[0][0])
    patches = torch.zeros_like(layers[0][1])
    for own, cross in layers:
        patches = patches + mixed(own, patches) + crossed(cross, among, torch.eye(cross.shape[1]).to(cross))
        among = among + mixed(own, among)
    return patches


def window_to_patch(weights: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
    """Contributions of attention within windows, laid on the patches: [queries, patches] for each map, to be given to
    `query_to_patch`, or multiplied by the relevance of queries.

    A point of a window is a weighted mean of patches, so its contribution is shared out by the same weights.

    Args:
        weights: contributions in `SpatialResampler` or `HiwinAttention` for one view, [queries, queries of a window,
            points of a window in all maps].
        grids: rows and columns of each map.

    Raises:
        ValueError: if there are not as many points as windows of these maps have, or the queries form no square.
    """
    side = isqrt(len(weights))
    numbers = [window_points(grid).cells for grid in grids]
    if weights.ndim != 3 or side * side != len(weights) or sum(numbers) != weights.shape[-1]:
        raise ValueError(
            f"weights {tuple(weights.shape)} are not [queries, queries of a window, {sum(numbers)} points] of one view "
            f"whose maps have the grids {[tuple(grid) for grid in grids]}"
        )
    laid = []
    for grid, of_map in zip(grids, weights.sum(dim=1).split(numbers, dim=1), strict=True):
        shares = windows_matrix(*grid, side).to(of_map).unflatten(0, (len(weights), -1))
        laid.append((of_map[:, None] @ shares)[:, 0])
    return laid

"""Find the patches that made a model write a word: generic attention explainability (Chefer et al., arXiv 2103.15679,
section 3), composed as in DeCo (arXiv 2405.20985): text to query in the language model, times query to patch in the
connector.

DeCo gives no formula for query to patch through a Q-Former; that composition is our interpretation.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from foveal.connectors.windows import window_points, windows_matrix
from foveal.core import Grid


class RecordedAttention(TorchFunctionMode):
    """A context that computes torch's attention step by step and keeps its `probabilities`, in the order of the calls:
    [batch, heads, queries, keys] each, after the softmax.

    It intercepts all calls of `scaled_dot_product_attention`: from `foveal.core.attention` with dense input, and from
    transformers' models with `attn_implementation="sdpa"` (models with `eager` return their own). The probabilities are
    part of the graph even if all weights are frozen. A mask must leave at least one key to every query.
    """

    def __init__(self) -> None:
        super().__init__()
        self.probabilities: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = self._attend if func is F.scaled_dot_product_attention else func
        return call(*args, **(kwargs or {}))

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if dropout_p:
            raise ValueError(f"attention with dropout {dropout_p} cannot be explained: call .eval() on the model first")
        if enable_gqa:
            key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], dim=-3) for each in (key, value))
        scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None:
            hides = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, float("-inf")) if hides else scores + attn_mask
        probabilities = scores.softmax(dim=-1)
        self.probabilities.append(probabilities if probabilities.requires_grad else probabilities.requires_grad_())
        return probabilities @ value


def contributions(score: Tensor, attentions: Sequence[Tensor]) -> list[Tensor]:
    """The `contribution` of each layer's attention to a score, [..., queries, keys] each.

    Args:
        score: the number to explain: the logit of a token, or the sum of the logits of a word's tokens. Not the loss.
        attentions: [..., heads, queries, keys] of each layer, after the softmax, from the pass that gave `score`.

    Raises:
        ValueError: if attentions are missing, or the score does not depend on them.
    """
    if not attentions or any(each is None for each in attentions):
        raise ValueError("no attention probabilities: record them, or load the model with attn_implementation='eager'")
    if score.numel() != 1 or not all(each.requires_grad for each in (score, *attentions)):
        raise ValueError(
            f"a score of shape {tuple(score.shape)} cannot be explained: it must be one number, computed with gradients"
        )
    gradients = torch.autograd.grad(score, list(attentions), retain_graph=True, allow_unused=True)
    if unused := [number for number, gradient in enumerate(gradients) if gradient is None]:
        raise ValueError(f"the score does not come from attentions {unused}: pass those of its own forward pass only")
    return [contribution(each.detach(), gradient) for each, gradient in zip(attentions, gradients, strict=True)]


def contribution(attention: Tensor, gradient: Tensor) -> Tensor:
    """Equation 5: positive contributions to the score, averaged over heads; twice [..., heads, s, q] -> [..., s, q]."""
    # In double precision from here on: R - I would lose values far smaller than I, and equation 9 scales them up again.
    return (gradient * attention).clamp(min=0).mean(dim=-3, dtype=torch.float64)


def mixed(weights: Tensor, relevance: Tensor) -> Tensor:
    """The relevance that attention adds for its queries: to R_ss and R_sq within s (equations 6 and 7), and to R_ss,
    from R_qs, if s reads q and q has read s (equation 11). All additions of a block use R from before the block."""
    return weights @ relevance


def crossed(weights: Tensor, relevance_ss: Tensor, relevance_qq: Tensor) -> Tensor:
    """Equation 10: the relevance that attention of s to q adds to R_sq, [..., s, q]."""
    return normalised(relevance_ss).mT @ weights @ normalised(relevance_qq)


def normalised(relevance: Tensor) -> Tensor:
    """Equations 8 and 9: rows of R - I scaled to sum 1, plus I, [..., s, s]. Rows of I, which would give 0/0, stay."""
    identity = torch.eye(relevance.shape[-1]).to(relevance)
    change = relevance - identity
    total = change.sum(dim=-1, keepdim=True)
    return change / total.masked_fill(total == 0, 1) + identity


def rollout(attentions: Sequence[Tensor]) -> Tensor:
    """Attention rollout, without gradients: the product over layers of mean attention and residual path, half each
    (Abnar and Zuidema, arXiv 2005.00928, section 3), [..., heads, s, s] of each layer -> [..., s, s]."""
    identity = result = torch.eye(attentions[0].shape[-1]).to(attentions[0])
    for attention in attentions:
        result = F.normalize(attention.mean(dim=-3) + identity, p=1, dim=-1) @ result
    return result


def text_to_query(layers: Sequence[Tensor], position: int, visual: Tensor) -> Tensor:
    """Relevance of the visual tokens, [queries], for the word predicted at `position`, the position before the word.

    `layers` are contributions in the language model, [tokens, tokens], in layer order; `visual` holds the positions of
    the visual tokens, [queries], or one bool per token. Raises ValueError if `layers` is empty, or a batch.
    """
    if not layers or any(weights.ndim != 2 for weights in layers):
        raise ValueError(f"{len(layers)} layers: give at least one, each [tokens, tokens] of one sample of the batch")
    row = torch.eye(len(layers[0])).to(layers[0])[position]
    for weights in reversed(layers):  # one row of R suffices: e R = e (I + A_L) ... (I + A_1)
        row = row + row @ weights
    return row[visual]


def query_to_patch(layers: Sequence[tuple[Tensor | None, Tensor | None]]) -> Tensor:
    """Relevance of the patches for each query, [queries, patches]; patches do not mix: R_pp = I.

    `layers` are contributions in the connector, in layer order: of queries to queries, then of queries to patches, None
    if a layer has no such attention. Raises ValueError if no layer attends to the patches, or `layers` are a batch.
    """
    first = next((cross for _, cross in layers if cross is not None), None)
    if first is None or first.ndim != 2:
        raise ValueError(f"{len(layers)} layers: one or more must attend to patches, [queries, patches] of one sample")
    among, patches = torch.eye(first.shape[0]).to(first), torch.zeros_like(first)
    for own, cross in layers:
        if own is not None:
            among, patches = among + mixed(own, among), patches + mixed(own, patches)
        if cross is not None:
            patches = patches + crossed(cross, among, torch.eye(cross.shape[1]).to(cross))
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

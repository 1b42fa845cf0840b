"""The rules of generic attention explainability (Chefer et al., arXiv 2103.15679, section 3, equations 5 to 11)."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


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


def rows_before(row: Tensor, layers: Sequence[Tensor]) -> Iterator[Tensor]:
    """Relevance of all positions where they enter each layer, from the last to the first, [s] each (equation 6).

    One row of R suffices: e R = e (I + A_L) ... (I + A_1).

    Args:
        row: e, [s], the positions after the last layer that are explained.
        layers: contributions in layer order, [s, s] each.
    """
    for weights in reversed(layers):
        row = row + row @ weights
        yield row


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

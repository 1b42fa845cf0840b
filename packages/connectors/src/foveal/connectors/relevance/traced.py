"""Keep what relevance maps need of a connector's calls, and say which patches its tokens come from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foveal.connectors.relevance.recorded import RecordedAttention
from foveal.core import Grid

if TYPE_CHECKING:
    from foveal.connectors.connector import Connector


@dataclass(frozen=True)
class TracedCall:
    """One call of a connector.

    Attributes:
        maps: [views, rows, width] each; gradients reach them and go no further.
        grids: (rows, columns) of each map.
        probabilities: of its attention calls, in their order, [views * sequences, heads, queries, keys] each.
        tokens: what it returned.
    """

    maps: tuple[Tensor, ...]
    grids: tuple[Grid, ...]
    probabilities: tuple[Tensor, ...]
    tokens: Tensor

    @property
    def views(self) -> int:
        """The number of views."""
        return len(self.maps[0])

    def seen(self, view: int, weights: Sequence[Tensor]) -> Iterator[Tensor]:
        """The part of one view in weights of all attention calls, as `Connector.token_to_patch` takes them.

        Args:
            view: its number in the call.
            weights: [views * sequences, queries, keys] for each call of attention.
        """
        for each in weights:
            yield each.unflatten(0, (self.views, -1))[view].double().cpu()


@contextmanager
def traced(connector: "Connector") -> Iterator[list[TracedCall]]:
    """Context in which the calls of a connector are kept in the list that it gives, with a graph for gradients.

    The maps are cut off from what made them, so that the encoder need not have a graph.
    """
    calls: list[TracedCall] = []
    compute, own = connector.forward, connector.__dict__.get("forward")

    def forward(maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        leaves = tuple(features.detach().requires_grad_() for features in maps)
        with torch.enable_grad(), RecordedAttention() as recorded:
            tokens = compute(leaves, grids, mask)
        calls.append(TracedCall(leaves, tuple(grids), tuple(recorded.probabilities), tokens))
        return tokens

    instance: Any = connector
    instance.forward = forward
    try:
        yield calls
    finally:
        del instance.forward
        if own is not None:
            instance.forward = own


def patches_of_tokens(connector: "Connector", call: TracedCall, view: int) -> tuple[list[Tensor], bool]:
    """Which patches the tokens of a view look at, whatever the question: the text-free map of query to patch.

    Attention is averaged over heads and composed by the rules, without gradients. If the connector does not say where
    its tokens come from, gradients of a token's squared length stand in.

    Args:
        connector: that of the call.
        call: one of its calls.
        view: number of the view in the call.

    Returns:
        [levels * tokens, prefix_tokens + rows*columns] for each map, of which the rows of all maps together sum to 1,
        or to 0 for a token that comes from no patch; and whether the connector said so, rather than gradients.
    """
    weights = [each.detach().mean(dim=1, dtype=torch.float64) for each in call.probabilities]
    tables = connector.token_to_patch(call.grids, call.seen(view, weights))
    rows = torch.cat(_by_gradient(call, view) if tables is None else tables, dim=1)
    total = rows.sum(dim=1, keepdim=True)
    shares = rows / total.masked_fill(total == 0, 1)
    return list(shares.split([features.shape[1] for features in call.maps], dim=1)), tables is not None


def relevance_by_gradient(features: Tensor, gradient: Tensor) -> Tensor:
    """Relevance of patches without rules, [rows, width] twice -> [rows]: the effect on the score, to first order and if
    above 0, of having this patch instead of the view's mean patch.

    Without a mean patch to compare with it would be 0 for all connectors that begin with a norm, which is the same for
    features of any length.
    """
    own = features.detach().double()
    return ((own - own.mean(dim=0)) * gradient.double()).sum(dim=-1).clamp(min=0).cpu()


def _by_gradient(call: TracedCall, view: int) -> list[Tensor]:
    tokens = call.tokens[view].flatten(0, -2)
    rows: list[list[Tensor]] = []
    for token in tokens:
        length = (token * token.detach()).sum()
        gradients = torch.autograd.grad(length, call.maps, retain_graph=True, allow_unused=True, materialize_grads=True)
        rows.append(
            [relevance_by_gradient(*(each[view] for each in pair)) for pair in zip(call.maps, gradients, strict=True)]
        )
    return [torch.stack(of_map) for of_map in zip(*rows, strict=True)]

"""Relevance of the visual tokens: through the language model, and back through the merge to the tokens of each view."""

from collections.abc import Sequence

import torch
from torch import Tensor

from foveal.connectors.relevance.rules import rows_before
from foveal.core import Grid
from foveal.models.merges.merge import Merge, Merged
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.batch import Sample
from foveal.models.prompts.constants import IMAGE_TOKEN_ID
from foveal.models.prompts.token_count import token_grids
from foveal.models.relevance.sets import SetOfViews


def rows_by_layer(weights: Sequence[Tensor], places: Sequence[int], layers: Sequence[int]) -> dict[int, Tensor]:
    """Relevance of all positions for some words, where their values enter decoder layers: what enters layer 3 is
    relevant through the layers from 3 on.

    Args:
        weights: contributions in every decoder layer, [tokens, tokens] each.
        places: positions of the words' tokens; each was predicted at the position before.
        layers: decoder layers, of which 0 is entered by the embeddings.

    Returns:
        [tokens] for each of the layers.
    """
    row = torch.zeros(len(weights[0])).to(weights[0])
    for place in places:
        row[place - 1] += 1
    numbered = zip(reversed(range(len(weights))), rows_before(row, weights), strict=True)
    return {number: before.cpu() for number, before in numbered if number in layers}


def token_relevance(
    model: VisionLanguageModel, sample: Sample, sets: Sequence[SetOfViews], rows: dict[int, Tensor]
) -> list[Tensor]:
    """Relevance of the connector's tokens for each set of views, [levels * tokens], level after level.

    Args:
        model: the model.
        sample: what it read.
        sets: the sets of views of all pictures, in the order of the sample.
        rows: relevance of all positions in layer 0 and in the layers of the merge, from `rows_by_layer`.

    Raises:
        NotImplementedError: if the merge does more than ordering, selecting and averaging tokens.
    """
    places = (sample.input_ids == IMAGE_TOKEN_ID).nonzero().squeeze(1)
    connector, merge = model.connector, model.merge
    if merge is None:
        return list(rows[0][places].split([connector.num_tokens(*each.grids) for each in sets]))
    found = []
    for number, size in enumerate(sample.sizes):
        own = [each for each in sets if each.picture == number]
        planes, tile_grid = token_grids(connector, [each.grids for each in own]), model.processor.plan.tile_grid(size)
        length = merge.num_tokens(planes, tile_grid, size)
        of_picture, places = places[:length], places[length:]
        entering = [rows[0][of_picture], *(rows[layer][of_picture] for layer in merge.layers)]
        tokens = _tokens_like(merge, planes)
        with torch.enable_grad():
            merged = merge(tokens, planes, tile_grid, size)
        found += _before(tokens, merged, entering)
    return found


def _tokens_like(merge: Merge, planes: Sequence[Grid]) -> list[Tensor]:
    """Zeros in the place of the tokens of each set of views, with gradients."""
    weight = next(merge.parameters(), torch.empty(0))
    levels = () if merge.levels == 1 else (merge.levels,)
    zeros = weight.new_zeros((), dtype=torch.float64)
    return [zeros.new_zeros(*levels, plane.cells, merge.width).requires_grad_() for plane in planes]


def _before(tokens: Sequence[Tensor], merged: Merged, entering: Sequence[Tensor]) -> list[Tensor]:
    """Distribute the relevance of merged tokens over the tokens that they were made of, by the weights of the merge.

    A merge orders, selects and averages tokens, all channels alike, so that the gradient of one channel is its weights.
    """
    # A picture may have fewer stacks than the merge has layers.
    parts = zip((merged.tokens, *merged.stacks), entering, strict=False)
    total = torch.stack([(part[:, 0].cpu() * relevance.double()).sum() for part, relevance in parts]).sum()
    gradients = torch.autograd.grad(total, tokens, allow_unused=True, materialize_grads=True)
    if any(gradient[..., 1:].any() for gradient in gradients):
        raise NotImplementedError(
            "the merge mixes channels, so it does not say which tokens its own were made of: only merges that order, "
            "select and average tokens can be explained"
        )
    return [gradient[..., 0].flatten().cpu() for gradient in gradients]

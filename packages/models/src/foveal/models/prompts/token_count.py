"""The number of tokens of a picture, computed without weights."""

import copy
from typing import TypeVar

import torch

from foveal.connectors import Connector
from foveal.core import Grid, Size
from foveal.encoders import Encoder
from foveal.models.merges.merge import Merge
from foveal.models.views.plan import ViewPlan

Module = TypeVar("Module", bound=torch.nn.Module)


class TokenCount:
    """Counts the tokens of a picture in a prompt: `count(Size(width, height))`.

    Holds copies of the parts with every tensor on the meta device: nothing is computed, and a copy sent to a loader
    worker contains no weights.

    Args:
        encoder: the model's encoder.
        connector: the model's connector.
        plan: maps a picture's size to its views.
        merge: the model's merge, if it has one.
    """

    def __init__(self, encoder: Encoder, connector: Connector, plan: ViewPlan, merge: Merge | None = None) -> None:
        self.encoder, self.connector, self.plan = _without_weights(encoder), _without_weights(connector), plan
        self.merge = None if merge is None else _without_weights(merge)

    def __call__(self, picture: Size) -> list[int | str]:
        """Lengths of a picture's runs of visual tokens, and the texts that the plan puts between them.

        Raises:
            ValueError: if encoder, connector, merge or plan cannot process such a picture.
        """
        layout, grids = self.plan.layout(picture), self._grids(picture)
        if self.merge is None:
            counts = [self.connector.num_tokens(*of_set) for of_set in grids]
            return [counts[item] if isinstance(item, int) else item for item in layout]
        numbers = [place for place, item in enumerate(layout) if isinstance(item, int)]
        first, last = numbers[0], numbers[-1] + 1
        if layout[first:last] != tuple(range(len(grids))):
            raise ValueError(
                f"{type(self.merge).__name__} makes one run of all views, {type(self.plan).__name__} puts texts or "
                "another order between them: use one of the two"
            )
        planes = token_grids(self.connector, grids)
        run = self.merge.num_tokens(planes, self.plan.tile_grid(picture), picture)
        return [*layout[:first], run, *layout[last:]]

    def grid(self, picture: Size) -> Grid:
        """Rows and columns of a picture's tokens, for a merge whose tokens are `on_grid`.

        Raises:
            ValueError: as for a call.
        """
        if self.merge is None:
            raise ValueError("without a merge every view is a separate run: there is no grid of all tokens")
        planes = token_grids(self.connector, self._grids(picture))
        return self.merge.grid(planes, self.plan.tile_grid(picture), picture)

    def _grids(self, picture: Size) -> list[tuple[Grid, ...]]:
        """The grids of the feature maps of every set of views."""
        views, inputs = self.plan.views(picture), self.plan.inputs
        return [self.encoder.grids(*views[start : start + inputs]) for start in range(0, len(views), inputs)]


def token_grids(connector: Connector, grids: list[tuple[Grid, ...]]) -> list[Grid]:
    """Rows and columns of the tokens of each set of views, for a merge.

    Raises:
        ValueError: if the connector's tokens do not form a grid.
    """
    for of_set in grids:
        connector.num_tokens(*of_set)  # raises an error that explains which grids it cannot take
    planes = [connector.out_grid(*of_set) for of_set in grids]
    found = [plane for plane in planes if plane is not None]
    if len(found) < len(planes):
        raise ValueError(
            f"the tokens of {type(connector).__name__} do not form a grid, which a merge needs: use a connector that "
            "keeps the grid, such as MlpProjector or AdaptivePool, without prefix tokens"
        )
    return found


def _without_weights(module: Module) -> Module:
    tensors = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors})

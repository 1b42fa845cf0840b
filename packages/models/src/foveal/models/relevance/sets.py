"""The sets of views of a prompt: of which picture, where on it, and in which call of the connector."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foveal.core import Box, Grid, Size, group_by
from foveal.models.model import VisionLanguageModel
from foveal.models.relevance.on_picture import laid_on, map_grid


@dataclass(frozen=True)
class SetOfViews:
    """Views that the encoder sees together.

    Attributes:
        picture: number of their picture in the prompt.
        boxes: for each map, the part of the picture that it shows; it may reach beyond the picture.
        grids: rows and columns of each map.
        call: number of the call of the connector that made their tokens.
        place: their number in that call.
    """

    picture: int
    boxes: tuple[Box, ...]
    grids: tuple[Grid, ...]
    call: int
    place: int


def sets_of(model: VisionLanguageModel, sizes: Sequence[Size]) -> list[SetOfViews]:
    """The sets of views of all pictures, in the order of the prompt.

    Args:
        model: the model; views of the same grids go through its connector in one call.
        sizes: sizes of the pictures, as in the sample.

    Raises:
        NotImplementedError: if the plan does not say what its views show, or the encoder's rows stand for no places.
    """
    plan, encoder = model.processor.plan, model.encoder
    shown = [number for number in encoder.views_of_maps if number is not None]
    if len(shown) < len(encoder.views_of_maps):
        raise NotImplementedError(
            f"the rows of {type(encoder).__name__} stand for no places in a view: what they show cannot be laid back "
            "on the picture"
        )
    found = []
    for picture, size in enumerate(sizes):
        views, boxes, inputs = plan.views(size), plan.regions(size), plan.inputs
        for number in (item for item in plan.layout(size) if isinstance(item, int)):
            own = slice(number * inputs, (number + 1) * inputs)
            together = boxes[own]
            found.append((picture, tuple(together[view] for view in shown), encoder.grids(*views[own])))
    groups = group_by(grids for _, _, grids in found)
    where = {index: (call, place) for call, group in enumerate(groups.values()) for place, index in enumerate(group)}
    return [SetOfViews(*each, *where[index]) for index, each in enumerate(found)]


def maps_of(sets: Sequence[SetOfViews], relevance: Sequence[Sequence[Tensor]], sizes: Sequence[Size]) -> list[Tensor]:
    """What was found in the views, laid back on the pictures and added up, [rows, columns] of `map_grid` each.

    Args:
        sets: the sets of views of all pictures.
        relevance: for each set, the cells of each map, [rows*columns].
        sizes: sizes of the pictures.
    """
    grids = [map_grid(size) for size in sizes]
    maps = [torch.zeros(grid, dtype=torch.float64) for grid in grids]
    for of_set, of_maps in zip(sets, relevance, strict=True):
        number = of_set.picture
        for cells, box, grid in zip(of_maps, of_set.boxes, of_set.grids, strict=True):
            maps[number] += laid_on(cells.unflatten(0, grid), box, sizes[number], grids[number])
    return maps

"""The views of a picture as tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from foveal.core import Size
from foveal.models.views.draft import Draft
from foveal.models.views.plan import ViewPlan

Shown = Image | Draft | tuple[Image | Draft, ...]
"""A picture, or the frames of a video that is cut as one, for a plan with `frames`."""


def cut_views(plan: ViewPlan, pictures: Sequence[Shown], sizes: Sequence[Size]) -> tuple[Tensor, ...]:
    """The views of several pictures, one picture after the other; arguments are those of `views_of` for each."""
    return tuple(view for one in zip(pictures, sizes, strict=True) for view in views_of(plan, *one))


def views_of(plan: ViewPlan, picture: Shown, size: Size) -> list[Tensor]:
    """The views of a picture in the order of the prompt; views that are seen together stay together.

    Args:
        plan: cuts the picture.
        picture: RGB; or a video's frames.
        size: of the picture, as the plan knows it beside the others of its conversation.

    Returns:
        [3, height, width] each, uint8.
    """
    if isinstance(picture, tuple):
        cut = plan.cut_video(picture)
    elif isinstance(picture, Draft) or type(size) is not Size:
        cut = plan.cut_draft(Draft(picture.image if isinstance(picture, Draft) else picture, size))
    else:
        cut = plan.cut(picture)
    order = [item for item in plan.layout(size) if isinstance(item, int)]
    views = [view for number in order for view in cut[number * plan.inputs : (number + 1) * plan.inputs]]
    return [torch.from_numpy(np.array(view)).permute(2, 0, 1).contiguous() for view in views]

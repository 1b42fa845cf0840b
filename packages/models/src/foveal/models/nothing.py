"""A zero that reaches every part for pictures, for batches that have none."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from foveal.core import Size

if TYPE_CHECKING:
    from foveal.models.model import VisionLanguageModel


def nothing(model: "VisionLanguageModel") -> Tensor:
    """Zero, computed through the encoder, the connector and the merge, so that all of them have gradients."""
    size = Size(1, 1)
    blank = [torch.zeros(3, one.height, one.width, device=model.device) for one in model.processor.plan.views(size)]
    # Each output is multiplied by 0 before the sum, which could otherwise overflow in half precision.
    parts = [(0.0 * part).sum() for each in model.merged(blank, [size]) for part in (each.tokens, *each.stacks)]
    return torch.stack(parts).sum()

"""Normalise views for the encoder."""

from collections.abc import Sequence

import torch
from torch import Tensor

from foveal.core import group_by
from foveal.encoders import Encoder


def normalised(views: Sequence[Tensor], encoder: Encoder) -> list[Tensor]:
    """Normalise views on the encoder's device, in its dtype; views of equal shape are processed together.

    Args:
        views: [3, height, width] each; uint8 in 0..255, or float and already normalised.
        encoder: every `inputs` views form a set; each position in a set has its own mean and standard deviation.
    """
    weight = next(encoder.parameters())
    ready: list[Tensor] = list(views)
    kinds = [(view.shape, view.dtype, number % encoder.inputs) for number, view in enumerate(views)]
    for (_, _, place), indices in group_by(kinds).items():
        pixels = torch.stack([views[index] for index in indices]).to(weight.device)
        if not pixels.is_floating_point():
            mean, std = (torch.tensor(each, device=weight.device)[:, None, None] for each in encoder.statistics[place])
            pixels = (pixels / 255 - mean) / std
        for index, view in zip(indices, pixels.to(weight.dtype), strict=True):
            ready[index] = view
    return ready

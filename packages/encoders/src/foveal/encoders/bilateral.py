"""Joint bilateral upsampling: a map enlarged along the edges of its picture."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from foveal.core import without_autocast

RADIUS = 3
SIDE = 2 * RADIUS + 1
NEIGHBOURS = SIDE * SIDE
KEY_WIDTH = 32


class JointBilateralUpsampler(nn.Module):
    """A map at twice its size (LLaVA-UHD v2, arXiv 2412.13871, equations 6 to 8, after FeatUp, arXiv 2403.10516).

    Each cell is a weighted sum of its 7 x 7 neighbours in the bicubically enlarged map. The weights are the product of
    a softmax over the similarity of the neighbours' colours, as two convolutions see them, and of a Gaussian of their
    distance, plus a tenth of a learned correction.
    """

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(0.0))
        self.sigma = nn.Parameter(torch.tensor(1.0))
        self.colours = _two_convolutions(3, KEY_WIDTH)
        self.correction = _two_convolutions(3 + NEIGHBOURS, NEIGHBOURS)

    def forward(self, features: Tensor, picture: Tensor) -> Tensor:
        """[views, width, rows, columns] and [views, 3, height, width] -> [views, width, 2*rows, 2*columns]."""
        size = (2 * features.shape[2], 2 * features.shape[3])
        guide = F.adaptive_avg_pool2d(picture.float(), size).to(picture.dtype)
        weights = self.weights(guide)
        with without_autocast(features.device):
            kind = torch.promote_types(features.dtype, torch.float32)
            large = F.interpolate(features.to(kind), size=size, mode="bicubic", align_corners=False)
            weighted: Tensor = _WeightedNeighbours.apply(_reflected(large), weights.to(kind))
        return weighted.to(features.dtype)

    def weights(self, guide: Tensor) -> Tensor:
        """The weights of the neighbours of every cell, row by row: [views, 3, rows, columns] -> [views, 49, ...]."""
        keys = self.colours(guide)
        with without_autocast(guide.device):
            kind = torch.promote_types(keys.dtype, torch.float32)
            keys = keys.to(kind)
            likeness: Tensor = _Likeness.apply(_reflected(keys), keys)
            scale = self.temperature.to(kind).exp().clamp(1e-4, 1e4)
            combined = (scale * likeness).softmax(dim=1) * self._nearness(kind)
            combined = combined / combined.sum(dim=1, keepdim=True).clamp(min=1e-7)
        corrected: Tensor = combined + 0.1 * self.correction(torch.cat([combined.to(guide.dtype), guide], dim=1))
        return corrected

    def _nearness(self, kind: torch.dtype) -> Tensor:
        """A Gaussian of each neighbour's distance, where the window reaches from -1 to 1: [49, 1, 1]."""
        squares = torch.linspace(-1, 1, SIDE, dtype=kind, device=self.sigma.device).square()
        distances = (squares[:, None] + squares).flatten()[:, None, None]
        return (-distances / (2 * self.sigma.to(kind).square())).exp()


def _two_convolutions(before: int, after: int) -> nn.Sequential:
    """Two 1 x 1 convolutions; whole channels are dropped in training, as published."""
    return nn.Sequential(nn.Conv2d(before, after, 1), nn.GELU(), nn.Dropout2d(0.1), nn.Conv2d(after, after, 1))


class _WeightedNeighbours(torch.autograd.Function):
    """The sum of the neighbours of every cell, each times its weight.

    Neighbour by neighbour, in both directions: all of them at once would take 49 times the memory of the map, and the
    gradient of a part of a map, as torch computes it, is as large as the whole map.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, padded: Tensor, weights: Tensor) -> Tensor:
        """[views, width, rows + 6, columns + 6] and [views, 49, rows, columns] -> [views, width, rows, columns]."""
        ctx.save_for_backward(padded, weights)
        weighted = padded.new_zeros(*padded.shape[:2], *weights.shape[2:])
        for number, neighbour in enumerate(_neighbours(padded)):
            weighted.addcmul_(neighbour, weights[:, number, None])
        return weighted

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        padded, weights = ctx.saved_tensors
        of_padded = torch.zeros_like(padded)
        # Without a gradient where these layers are frozen and the tower is not.
        of_weights = torch.empty_like(weights) if ctx.needs_input_grad[1] else None
        for number, (neighbour, part) in enumerate(zip(_neighbours(padded), _neighbours(of_padded), strict=True)):
            part.addcmul_(gradient, weights[:, number, None])
            if of_weights is not None:
                torch.sum(gradient * neighbour, dim=1, out=of_weights[:, number])
        return of_padded, of_weights


class _Likeness(torch.autograd.Function):
    """The scalar product of every cell with each of its neighbours."""

    @staticmethod
    def forward(ctx: FunctionCtx, padded: Tensor, keys: Tensor) -> Tensor:
        """[views, width, rows + 6, columns + 6] and [views, width, rows, columns] -> [views, 49, rows, columns]."""
        ctx.save_for_backward(padded, keys)
        return torch.stack([(neighbour * keys).sum(dim=1) for neighbour in _neighbours(padded)], dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        padded, keys = ctx.saved_tensors
        of_padded, of_keys = torch.zeros_like(padded), torch.zeros_like(keys)
        for number, (neighbour, part) in enumerate(zip(_neighbours(padded), _neighbours(of_padded), strict=True)):
            part.addcmul_(keys, gradient[:, number, None])
            of_keys.addcmul_(neighbour, gradient[:, number, None])
        return of_padded, of_keys


def _neighbours(padded: Tensor) -> Iterator[Tensor]:
    """The neighbours of every cell at each place of the window, row by row: parts of the padded map, not copies."""
    rows, columns = (side - 2 * RADIUS for side in padded.shape[2:])
    for down in range(SIDE):
        for across in range(SIDE):
            yield padded[:, :, down : down + rows, across : across + columns]


def _reflected(plane: Tensor) -> Tensor:
    """The map with three cells more at every edge, reflected back and forth if it is narrower than that."""
    rows, columns = (_places(side, plane.device) for side in plane.shape[2:])
    return plane[:, :, rows][..., columns]


def _places(size: int, device: torch.device) -> Tensor:
    places = torch.arange(-RADIUS, size + RADIUS, device=device) % (2 * (size - 1))
    return torch.minimum(places, 2 * (size - 1) - places)

"""Joint bilateral upsampling: a map enlarged along the edges of its picture."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
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
            weighted = torch.zeros_like(large)
            # Neighbour by neighbour: all of them at once would take 49 times the memory of the enlarged map.
            for number, neighbour in enumerate(_neighbours(large)):
                weighted = torch.addcmul(weighted, neighbour, weights[:, number, None].to(kind))
        return weighted.to(features.dtype)

    def weights(self, guide: Tensor) -> Tensor:
        """The weights of the neighbours of every cell, row by row: [views, 3, rows, columns] -> [views, 49, ...]."""
        keys = self.colours(guide)
        with without_autocast(guide.device):
            kind = torch.promote_types(keys.dtype, torch.float32)
            keys = keys.to(kind)
            likeness = torch.stack([(neighbour * keys).sum(dim=1) for neighbour in _neighbours(keys)], dim=1)
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


def _neighbours(plane: Tensor) -> Iterator[Tensor]:
    """The neighbour of every cell at each place of the window, row by row; beyond an edge the map is reflected."""
    rows, columns = plane.shape[2:]
    padded = plane[:, :, _reflected(rows, plane.device)][..., _reflected(columns, plane.device)]
    for down in range(SIDE):
        for across in range(SIDE):
            yield padded[:, :, down : down + rows, across : across + columns]


def _reflected(size: int, device: torch.device) -> Tensor:
    """Indices of a padded side, back and forth between both ends: also where the padding is wider than the map."""
    places = torch.arange(-RADIUS, size + RADIUS, device=device) % (2 * (size - 1))
    return torch.minimum(places, 2 * (size - 1) - places)

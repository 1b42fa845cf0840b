"""What every vision encoder promises."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from foveal.core import group_by


class Encoder(nn.Module, ABC):
    """Turns views into feature maps: for every layer asked for, a row of channels per patch.

    Attributes:
        widths: channels of each map that is returned.
        patch_size: pixels along one side of a map's cell.
        prefix_tokens: rows before those of the grid in every map (a class token that is kept).
        image_mean: what is subtracted from each colour in 0..1 before the encoder.
        image_std: what it is divided by.
    """

    widths: tuple[int, ...]
    patch_size: int
    prefix_tokens: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the maps of a view of height x width pixels.

        Raises:
            ValueError: if the patch does not divide the view.
        """
        if height < 1 or width < 1 or height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"a view of {height}x{width} pixels cannot be cut into patches of {self.patch_size}: resize it first"
            )
        return height // self.patch_size, width // self.patch_size

    @abstractmethod
    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """The maps of views of one size.

        Args:
            pixels: [views, 3, height, width], normalised by `image_mean` and `image_std`.

        Returns:
            One [views, prefix_tokens + rows*columns, width] for each layer asked for, row by row.

        Raises:
            ValueError: if that is not their shape, or the patch does not divide the views.
        """

    def encode_views(self, views: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """The maps of views of any sizes; the same numbers as one by one.

        Args:
            views: [3, height, width] each, normalised.

        Returns:
            For each view, one [prefix_tokens + rows*columns, width] per layer asked for.
        """
        maps: list[tuple[Tensor, ...]] = [()] * len(views)
        for indices in group_by(view.shape for view in views).values():
            layers = self(torch.stack([views[index] for index in indices]))
            for position, index in enumerate(indices):
                maps[index] = tuple(layer[position] for layer in layers)
        return maps

"""The interface of every vision encoder."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from foveal.core import Grid, Size, group_by, typed_as

Colour = tuple[float, float, float]
CLIP_MEAN: Colour = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Colour = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN: Colour = (0.485, 0.456, 0.406)
IMAGENET_STD: Colour = (0.229, 0.224, 0.225)
HALF: Colour = (0.5, 0.5, 0.5)
"""SigLIP's mean and standard deviation."""


class Encoder(nn.Module, ABC):
    """Turns views into feature maps: one map per requested layer, with one row of channels per patch.

    Most encoders look at one view at a time. Some look at several together, such as parallel encoders with a view each,
    or a view with its enlarged crops: then `inputs` consecutive views of a plan give one set of maps.

    Attributes:
        inputs: number of views that are encoded together.
        widths: channels of each returned map.
        prefix_tokens: rows before those of the grid in every map (a kept class token).
        image_mean: subtracted from each colour in 0..1 before the encoder.
        image_std: each colour is then divided by it.
        tables: names of its parameters whose rows are used one by one, see `foveal.core.tables_of`.
    """

    tables: ClassVar[tuple[str, ...]] = ()
    inputs: int = 1
    widths: tuple[int, ...]
    prefix_tokens: int = 0
    image_mean: Colour
    image_std: Colour

    @property
    def statistics(self) -> tuple[tuple[Colour, Colour], ...]:
        """The (mean, std) of the colours, for each of the views that are encoded together."""
        return ((self.image_mean, self.image_std),) * self.inputs

    @property
    def views_of_maps(self) -> tuple[int | None, ...]:
        """For each map, which of the views that are encoded together its cells divide, row by row, so that what is
        found in a cell can be laid back on the view; None: its rows do not stand for places."""
        return (0,) * len(self.widths)

    @abstractmethod
    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        """Rows and columns of every returned map.

        Args:
            sizes: size in pixels of each of the views that are encoded together.

        Raises:
            ValueError: if there are not `inputs` sizes, or the encoder cannot encode views of these sizes.
        """

    @abstractmethod
    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the maps of views of one size.

        Args:
            pixels: `inputs` times [views, 3, height, width], normalised by `statistics`.

        Returns:
            One [views, prefix_tokens + rows*columns, width] for each map, row by row.

        Raises:
            ValueError: if the views do not have this shape, or the patch does not divide them.
        """

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def encode_views(self, views: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """Compute the maps of views of any sizes; the same numbers as one by one.

        Args:
            views: [3, height, width] each, normalised; views that are encoded together are consecutive.

        Returns:
            For each view (or group of `inputs` views), one [prefix_tokens + rows*columns, width] per map.

        Raises:
            ValueError: if the number of views is not a multiple of `inputs`.
        """
        return by_shape(self.in_sets(views), self)

    def in_sets(self, views: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        """The views in sets of `inputs` that are encoded together.

        Raises:
            ValueError: if the number of views is not a multiple of `inputs`.
        """
        if len(views) % self.inputs:
            raise ValueError(f"{len(views)} views, of which {type(self).__name__} looks at {self.inputs} together")
        return [views[start : start + self.inputs] for start in range(0, len(views), self.inputs)]

    def check_inputs(self, number: int) -> None:
        """Refuse any number of views other than `inputs`.

        Raises:
            ValueError: naming both numbers.
        """
        if number != self.inputs:
            raise ValueError(f"{type(self).__name__} looks at {self.inputs} views together, not {number}")

    def checked(self, pixels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the inputs of `forward`, or raise its ValueError if they are not what it accepts."""
        self.check_inputs(len(pixels))
        if any(views.ndim != 4 or views.shape[1] != 3 or len(views) != len(pixels[0]) for views in pixels):
            shapes = ", ".join(str(tuple(views.shape)) for views in pixels)
            raise ValueError(f"views must be [views, 3, height, width], the same number of each input, got {shapes}")
        return pixels

    def one_input(self, pixels: tuple[Tensor, ...]) -> Tensor:
        """Return the only input of `forward`, [views, 3, height, width], checked."""
        return self.checked(pixels)[0]


def cells(size: Size, side: int) -> Grid:
    """Rows and columns of square cells with sides of `side` pixels in a view of this size.

    Raises:
        ValueError: if the cells do not fill the view.
    """
    if min(size) < 1 or size.height % side or size.width % side:
        raise ValueError(f"a view of {size} pixels cannot be cut into patches of {side}: resize it first")
    return Grid(size.height // side, size.width // side)


def by_shape(
    groups: Sequence[Sequence[Tensor]], compute: Callable[..., tuple[Tensor, ...]]
) -> list[tuple[Tensor, ...]]:
    """Compute something of groups of tensors, with one call for all groups of the same shapes.

    Args:
        groups: as many tensors each.
        compute: takes the groups' first tensors, stacked, then their second ones ...; returns tensors [groups, ...].

    Returns:
        For each group, its part of every tensor that `compute` returns.
    """
    results: list[tuple[Tensor, ...]] = [()] * len(groups)
    for indices in group_by(tuple(tensor.shape for tensor in group) for group in groups).values():
        computed = compute(*map(torch.stack, zip(*(groups[index] for index in indices), strict=True)))
        for index, of_group in zip(indices, zip(*computed, strict=True), strict=True):
            results[index] = of_group
    return results


def embedded_views(views: Sequence[Tensor], embed: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """The tokens of views of any sizes, [tokens, width] each; views of one size are embedded together.

    Args:
        views: [3, height, width] each.
        embed: [views, 3, height, width] -> [views, tokens, width].
    """
    return [tokens for (tokens,) in by_shape([(view,) for view in views], lambda pixels: (embed(pixels),))]


def hidden_states(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Convert layers counted from either end to hidden states from 0, the input of the first block, to `depth`.

    Raises:
        ValueError: if no layer is given, or one does not exist.
    """
    if not layers or any(not -depth - 1 <= layer <= depth for layer in layers):
        raise ValueError(
            f"layers {tuple(layers)}: name at least one, each from {-depth - 1} to {depth} for a depth of {depth}"
        )
    return tuple(layer if layer >= 0 else depth + 1 + layer for layer in layers)

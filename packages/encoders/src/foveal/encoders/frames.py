"""One encoder for every frame of a video."""

from collections.abc import Sequence

import torch
from torch import Tensor

from foveal.core import Grid, Size
from foveal.encoders.encoder import Encoder


class FrameEncoder(Encoder):
    """Encodes every frame of a video alone, with the same weights (PLLaVA, arXiv 2404.16994, section 3.2).

    Its maps are those of the frames, in their order, for a connector that joins them.

    Args:
        encoder: sees one view and returns one map.
        frames: number of frames of a video; `inputs` is the same.

    Raises:
        ValueError: if the encoder returns several maps or takes several views, or `frames` is below 1.
    """

    def __init__(self, encoder: Encoder, *, frames: int = 16) -> None:
        super().__init__()
        if len(encoder.widths) != 1 or encoder.inputs != 1:
            raise ValueError(
                f"the encoder of a frame must see one view and return one map, {type(encoder).__name__} takes "
                f"{encoder.inputs} and returns {len(encoder.widths)}"
            )
        if frames < 1:
            raise ValueError(f"frames is {frames}: a video has at least one")
        self.encoder, self.frames = encoder, frames
        self.inputs = frames
        self.widths = encoder.widths * frames
        self.prefix_tokens = encoder.prefix_tokens
        self.image_mean, self.image_std = encoder.image_mean, encoder.image_std

    @property
    def views_of_maps(self) -> tuple[int | None, ...]:
        (of_map,) = self.encoder.views_of_maps
        return tuple(None if of_map is None else number for number in range(self.frames))

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        self.check_inputs(len(sizes))
        if len(set(sizes)) > 1:
            found = ", ".join(map(str, sorted(set(sizes))))
            raise ValueError(f"the frames of a video must have one size, but have {found}")
        return self.encoder.grids(sizes[0]) * self.frames

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """The frames, each [views, 3, height, width] -> one [views, prefix_tokens + rows*columns, width] per frame."""
        self.grids(*(Size.of_view(views) for views in self.checked(pixels)))
        (features,) = self.encoder(torch.cat(pixels))
        return features.chunk(self.frames)

    def encode_views(self, views: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """Like `Encoder.encode_views`; the encoder gets the frames of all videos at once."""
        for video in self.in_sets(views):
            self.grids(*map(Size.of_view, video))
        maps = [features for (features,) in self.encoder.encode_views(views)]
        return [tuple(maps[start : start + self.frames]) for start in range(0, len(maps), self.frames)]

"""Several encoders side by side."""

from collections.abc import Sequence

from torch import Tensor, nn

from foveal.core import Grid, Size
from foveal.encoders.encoder import Colour, Encoder


class ParallelEncoder(Encoder):
    """Several encoders whose maps a connector joins: Vary (arXiv 2312.06109, section 3.3), mixtures of features (MMVP,
    arXiv 2401.06209, section 4).

    Args:
        encoders: at least two; their maps are returned in this order.
        one_view: whether all see the same view, normalised for the first encoder (the released mixture of features
            shows CLIP's colours to DINOv2); otherwise each has its own view, and `inputs` is the number of encoders.

    Raises:
        ValueError: if there are fewer than two encoders, one of them takes several views, or some keep a class token
            and others do not.
    """

    def __init__(self, encoders: Sequence[Encoder], *, one_view: bool = False) -> None:
        super().__init__()
        if len(encoders) < 2 or any(encoder.inputs != 1 for encoder in encoders):
            raise ValueError(f"ParallelEncoder takes at least two encoders of one view each, not these {len(encoders)}")
        if len({encoder.prefix_tokens for encoder in encoders}) > 1:
            raise ValueError("some encoders keep their class token and others do not: set keep_class_token alike")
        self.encoders = nn.ModuleList(encoders)
        self.one_view = one_view
        self.inputs = 1 if one_view else len(encoders)
        self.widths = tuple(width for encoder in encoders for width in encoder.widths)
        self.prefix_tokens = encoders[0].prefix_tokens
        self.image_mean, self.image_std = encoders[0].image_mean, encoders[0].image_std

    @property
    def members(self) -> list[Encoder]:
        """The encoders, typed as encoders."""
        return [encoder for encoder in self.encoders if isinstance(encoder, Encoder)]

    @property
    def statistics(self) -> tuple[tuple[Colour, Colour], ...]:
        every = tuple(encoder.statistics[0] for encoder in self.members)
        return every[: self.inputs]

    @property
    def views_of_maps(self) -> tuple[int | None, ...]:
        return tuple(
            of_map if of_map is None or self.one_view else number
            for number, encoder in enumerate(self.members)
            for of_map in encoder.views_of_maps
        )

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        self.check_inputs(len(sizes))
        seen = sizes * len(self.members) if self.one_view else sizes
        return tuple(grid for encoder, size in zip(self.members, seen, strict=True) for grid in encoder.grids(size))

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """`inputs` times [views, 3, height, width] -> [views, prefix_tokens + rows*columns, width] per map."""
        pixels = self.checked(pixels)
        seen = pixels * len(self.members) if self.one_view else pixels
        return tuple(features for encoder, views in zip(self.members, seen, strict=True) for features in encoder(views))

"""Join tiles, single views and the frames of a video: LLaVA-OneVision."""

from collections.abc import Sequence
from math import ceil
from typing import cast

from torch import Tensor
from torch.nn import functional as F

from foveal.core import Grid, Size
from foveal.models.merges.anyres import AnyResMerge, with_newlines
from foveal.models.merges.merge import Merged
from foveal.models.views.company import Frame, LastFrame


class OneVisionMerge(AnyResMerge):
    """The merge of LLaVA-OneVision (arXiv 2408.03326, section 3.2; LLaVA-NeXT's code, llava/model/llava_arch.py).

    Tiles and single views are joined as by `AnyResMerge`. The map of a frame is shrunk bilinearly, 27 x 27 tokens to
    14 x 14, and the last frame of a video gets one newline at its end.

    Args:
        width: channels of the language model.
        max_tiles: as for `AnyResMerge`.
        rounded: as for `AnyResMerge`.
        frame_stride: by how much the sides of a frame's map are divided; None: videos cannot be read.

    Raises:
        ValueError: if `max_tiles` or `frame_stride` is below 1.
    """

    def __init__(
        self, width: int, *, max_tiles: int | None = 9, rounded: bool = False, frame_stride: int | None = 2
    ) -> None:
        super().__init__(width, max_tiles=max_tiles, rounded=rounded)
        if frame_stride is not None and frame_stride < 1:
            raise ValueError(f"frame_stride must be at least 1, not {frame_stride}")
        self.frame_stride = frame_stride

    def num_tokens(self, grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> int:
        if isinstance(size, Frame):
            return self._pooled(grids[0]).cells + isinstance(size, LastFrame)
        return super().num_tokens(grids, tile_grid, size)

    def forward(self, tokens: Sequence[Tensor], grids: Sequence[Grid], tile_grid: Grid | None, size: Size) -> Merged:
        """[rows*columns, width] per view -> [num_tokens, width], no stacks."""
        if not isinstance(size, Frame):
            return super().forward(tokens, grids, tile_grid, size)
        plane = tokens[0].unflatten(0, grids[0]).movedim(-1, 0)[None]
        pooled = F.interpolate(plane, size=self._pooled(grids[0]), mode="bilinear", align_corners=False)
        frame = pooled[0].flatten(1).T
        return Merged(with_newlines(frame[None], cast(Tensor, self.newline)) if isinstance(size, LastFrame) else frame)

    def _pooled(self, grid: Grid) -> Grid:
        if self.frame_stride is None:
            raise ValueError(
                "this model's rule for the frames of a video is not known (frame_stride is None): ask about single "
                "frames, as pictures"
            )
        return Grid(ceil(grid[0] / self.frame_stride), ceil(grid[1] / self.frame_stride))

"""Position tables for grids other than their own."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from foveal.core import Grid

Interpolation = Literal["bicubic", "bilinear"]


def resampled(
    table: Tensor,
    native: Grid,
    grid: Grid,
    *,
    mode: Interpolation = "bicubic",
    align_corners: bool = False,
    antialias: bool = False,
) -> Tensor:
    """Resample a position table to another grid; its own grid gets the table itself.

    Interpolated in float32 for tables of any dtype: in half precision neighbouring positions would collapse.

    Args:
        table: [rows*columns of `native`, width].
        native: rows and columns of the table.
        grid: rows and columns to resample to.
        mode: see `torch.nn.functional.interpolate`, as for the rest.
        align_corners: whether the corners of the table stay in the corners.
        antialias: whether to antialias when the grid is smaller.

    Returns:
        [rows*columns of `grid`, width], in the dtype of `table`
    """
    if grid == native:
        return table
    plane = table.unflatten(0, native).permute(2, 0, 1)[None].float()
    resized = F.interpolate(plane, size=grid, mode=mode, align_corners=align_corners, antialias=antialias)
    return resized[0].flatten(1).T.to(table.dtype)

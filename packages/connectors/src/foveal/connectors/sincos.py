"""Fixed 2-D position tables, and resampling of tables."""

import torch
from torch import Tensor
from torch.nn import functional as F

from foveal.connectors.separable import kept, resized
from foveal.core import Grid


def sincos_grid(rows: int, columns: int, width: int) -> Tensor:
    """Sine and cosine positions of a grid: [rows*columns, width], row by row.

    This is the table of LLaVA-UHD's resampler (arXiv 2403.11703, section 3.2). The first half of the channels encodes
    the column, the second the row; each half has all sines before all cosines, with frequencies 10000^(-4i/width).

    Raises:
        ValueError: if `width` is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"2-D sin-cos positions need a width that is a multiple of 4, not {width}")
    frequencies = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width / 4))

    def along(size: int) -> Tensor:
        angles = torch.arange(size, dtype=torch.float64)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    across = along(columns)[None].expand(rows, -1, -1)
    down = along(rows)[:, None].expand(-1, columns, -1)
    return torch.cat([across, down], dim=-1).flatten(0, 1).float()


def resampled(table: Tensor, native: Grid, grid: Grid) -> Tensor:
    """Resample a position table to another grid, bicubically and in float32.

    Args:
        table: [rows*columns of `native`, width].
        native: rows and columns of the table.
        grid: rows and columns to resample to.

    Returns:
        [rows*columns of `grid`, width], float32
    """
    down, across = (
        kept(_bicubic_matrix, before, after, like=table) for before, after in zip(native, grid, strict=True)
    )
    return resized(table[None], native, down, across)[0].flatten(0, 1)


def _bicubic_matrix(before: int, after: int) -> Tensor:
    """The matrix of torch's bicubic interpolation along one axis, [after, before]: its results for unit vectors."""
    units = torch.eye(before, dtype=torch.float32)[None, :, :, None]
    return F.interpolate(units, size=(after, 1), mode="bicubic", align_corners=False)[0, :, :, 0].T

"""Maps resized by one matrix for rows and one for columns: pooling, windows, tables of positions."""

import torch
from torch import Tensor

from foveal.connectors.connector import Grid
from foveal.core import without_autocast


def resized(features: Tensor, grid: Grid, down: Tensor, across: Tensor) -> Tensor:
    """down X across^T for every view and channel.

    Always at float32 or better, as the references do, and with a deterministic backward pass, which torch's own pooling
    and interpolation lack on CUDA.

    Args:
        features: [views, rows*columns, width], row by row.
        grid: its rows and columns.
        down: [new rows, rows], on any device.
        across: [new columns, columns], on any device.

    Returns:
        [views, new rows, new columns, width], float32 (float64 if the features are)
    """
    with without_autocast(features.device):
        plane = features.to(torch.promote_types(features.dtype, torch.float32)).unflatten(1, grid)
        plane = torch.einsum("iy,vyxc->vixc", down.to(plane), plane)
        return torch.einsum("jx,vixc->vijc", across.to(plane), plane)

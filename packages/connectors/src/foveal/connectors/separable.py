"""Resize maps with one matrix for rows and one for columns: pooling, windows, position tables."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from foveal.core import Grid, without_autocast


def resized(features: Tensor, grid: Grid, down: Tensor, across: Tensor) -> Tensor:
    """Compute down X across^T for every view and channel.

    Always in float32 or better, as in the references, and with a deterministic backward pass, which torch's own pooling
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
        (views, _, width), rows = features.shape, len(down)
        # Batched matrix products instead of einsum, which permutes and copies on the way.
        plane = torch.bmm(down.to(plane).expand(views, -1, -1), plane.flatten(2)).view(views * rows, grid[1], width)
        plane = torch.bmm(across.to(plane).expand(views * rows, -1, -1), plane)
        result: Tensor = plane.unflatten(0, (views, rows))
        return result


def multiplied(features: Tensor, matrix: Tensor) -> Tensor:
    """Resize with one matrix for rows and columns together: [views, cells, width] -> [views, new cells, width].

    Faster than `resized` for few cells, and much slower for many.
    """
    with without_autocast(features.device):
        cells = features.to(torch.promote_types(features.dtype, torch.float32))
        return torch.bmm(matrix.to(cells).expand(len(cells), -1, -1), cells)


def kept(make: Callable[..., Tensor], *sizes: int, like: Tensor) -> Tensor:
    """Return `make(*sizes)` on the device of `like`, cached: views of the same few shapes recur.

    Args:
        make: returns a matrix that depends on its arguments only.
        sizes: its arguments.
        like: what the matrix will be multiplied with. If it is a tensor subclass, such as a fake tensor, the matrix is
            made anew, since it would be of that subclass too.
    """
    if type(like) not in (Tensor, nn.Parameter):
        return make(*sizes).to(like.device)
    return _made(make, sizes, like.device)


@lru_cache(maxsize=1024)
def _made(make: Callable[..., Tensor], sizes: tuple[int, ...], device: torch.device) -> Tensor:
    # The first call may be in inference mode or under another default device, and a later one in training.
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        return make(*sizes).to(device)

"""Maps resized by one matrix for rows and one for columns: pooling, windows, tables of positions."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from foveal.core import Grid, without_autocast


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
        (views, _, width), rows = features.shape, len(down)
        # As batches of products in place of einsum, which permutes and copies on the way.
        plane = torch.bmm(down.to(plane).expand(views, -1, -1), plane.flatten(2)).view(views * rows, grid[1], width)
        plane = torch.bmm(across.to(plane).expand(views * rows, -1, -1), plane)
        result: Tensor = plane.unflatten(0, (views, rows))
        return result


def multiplied(features: Tensor, matrix: Tensor) -> Tensor:
    """The same for a matrix that takes rows and columns at once: [views, cells, width] -> [views, new cells, width].

    Faster where there are few cells, and much slower where there are many.
    """
    with without_autocast(features.device):
        cells = features.to(torch.promote_types(features.dtype, torch.float32))
        return torch.bmm(matrix.to(cells).expand(len(cells), -1, -1), cells)


def kept(make: Callable[..., Tensor], *sizes: int, like: Tensor) -> Tensor:
    """`make(*sizes)` on the device of `like`, made once: views of a few shapes come again and again.

    Args:
        make: gives a matrix that depends on its arguments alone.
        sizes: its arguments.
        like: what the matrix will be multiplied with. Beside a tensor of a kind of its own, such as a fake one, every
            matrix is made anew: it would be of that kind.
    """
    if type(like) not in (Tensor, nn.Parameter):
        return make(*sizes).to(like.device)
    return _made(make, sizes, like.device)


@lru_cache(maxsize=1024)
def _made(make: Callable[..., Tensor], sizes: tuple[int, ...], device: torch.device) -> Tensor:
    # Whoever asks first may do so in inference mode or under another default device; the next one trains.
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        return make(*sizes).to(device)

"""SAM's image encoder (ViTDet), followed by Vary's two convolutions."""

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core import Backend, Grid, Size, attention
from foveal.encoders.block import run_block
from foveal.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD, Colour, Encoder, cells
from foveal.encoders.positions import resampled


class SamViTDet(Encoder):
    """A plain backbone with window attention and a convolutional neck (SAM, arXiv 2304.02643, appendix A; ViTDet, arXiv
    2203.16527, section 3), followed by strided convolutions that make it Vary's vocabulary (Vary, arXiv 2312.06109,
    section 3.2.1): 1024 pixels give 64 x 64 patches and 16 x 16 tokens.

    For sizes other than the native one, positions are resampled bicubically and relative position tables linearly.

    Args:
        width: channels of the blocks.
        depth: number of blocks.
        heads: attention heads.
        patch_size: pixels along one side of a patch.
        image_size: pixels along one side of the native, square view.
        window: cells along one side of a window.
        global_blocks: indices of the blocks that attend to the whole view.
        neck_width: channels of the neck.
        downsample: channels of the strided convolutions; each halves the grid, rounding odd sides up.
        mlp_ratio: channels inside the feed-forward layers, as a multiple of `width`.
        antialias: antialias positions when they are resampled (DeepSeek-OCR); False as ViTDet in detectron2.
        checkpointing: recompute blocks in the backward pass instead of keeping their activations.
        backend: attention kernel, see `foveal.core.attention`.
        image_mean: see `Encoder`; SAM and the original Vary use ImageNet's, Vary's descendants CLIP's.
        image_std: see `Encoder`.

    Raises:
        ValueError: if sizes do not divide each other or a global block does not exist.
    """

    tables: ClassVar[tuple[str, ...]] = ("positions",)

    def __init__(
        self,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        patch_size: int = 16,
        image_size: int = 1024,
        *,
        window: int = 14,
        global_blocks: tuple[int, ...] = (2, 5, 8, 11),
        neck_width: int = 256,
        downsample: tuple[int, ...] = (512, 1024),
        mlp_ratio: float = 4.0,
        antialias: bool = True,
        checkpointing: bool = False,
        backend: Backend = "auto",
        image_mean: Colour = IMAGENET_MEAN,
        image_std: Colour = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if min(heads, patch_size) < 1 or width % heads or image_size % patch_size:
            raise ValueError(
                f"width {width} must be a multiple of heads {heads}, image_size {image_size} of patch_size {patch_size}"
            )
        if window < 1 or any(not 0 <= block < depth for block in global_blocks):
            raise ValueError(
                f"window {window} must be at least 1, global_blocks {tuple(global_blocks)} from 0 to {depth - 1}"
            )
        self.width, self.depth, self.heads, self.patch_size, self.image_size = (
            width,
            depth,
            heads,
            patch_size,
            image_size,
        )
        self.window, self.global_blocks, self.neck_width = window, tuple(global_blocks), neck_width
        self.downsample, self.mlp_ratio, self.antialias = tuple(downsample), mlp_ratio, antialias
        self.checkpointing, self.backend = checkpointing, backend
        self.image_mean, self.image_std = image_mean, image_std
        self.widths = (self.downsample[-1] if self.downsample else neck_width,)

        side = image_size // patch_size
        self.patches = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.positions = nn.Parameter(torch.empty(side, side, width).normal_(std=0.02))
        self.blocks = nn.ModuleList(
            WindowBlock(
                width, heads, int(mlp_ratio * width), None if block in self.global_blocks else window, side, backend
            )
            for block in range(depth)
        )
        self.neck = Neck(width, neck_width)
        channels = (neck_width, *self.downsample)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False) for before, after in pairwise(channels)
        )

    def grid(self, size: Size) -> Grid:
        """Rows and columns of patches in a view of this size, before the strided convolutions.

        Raises:
            ValueError: if the patch does not divide the view.
        """
        return cells(size, self.patch_size)

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        """Rows and columns of tokens, after the strided convolutions."""
        self.check_inputs(len(sizes))
        rows, columns = self.grid(sizes[0])
        for _ in self.downsample:
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        return (Grid(rows, columns),)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """[views, 3, height, width] -> one [views, rows*columns, widths[0]]."""
        plane = self.neck(self.run(self.one_input(pixels))[-1])
        for convolution in self.convolutions:
            plane = convolution(plane)
        return (plane.flatten(2).mT,)

    def run(self, pixels: Tensor) -> list[Tensor]:
        """[views, 3, height, width] -> first block's input and every block's output, [views, rows, columns, width]."""
        grid = self.grid(Size.of_view(pixels))
        hidden = self.patches(pixels).movedim(1, -1) + self.positions_of(grid)
        states = [hidden]
        for block in self.blocks:
            hidden = run_block(block, hidden, recomputed=self.checkpointing and self.training)
            states.append(hidden)
        return states

    def positions_of(self, grid: Grid) -> Tensor:
        """The position table for a grid: [rows, columns, width]."""
        native = Grid(*self.positions.shape[:2])
        table = resampled(self.positions.flatten(0, 1), native, grid, antialias=self.antialias)
        return table.view(*grid, -1)


class WindowBlock(nn.Module):
    """Attention with decomposed relative positions, in windows or over the whole view, then a feed-forward layer."""

    tables: ClassVar[tuple[str, ...]] = ("rows", "columns")

    def __init__(self, width: int, heads: int, mlp_width: int, window: int | None, side: int, backend: Backend) -> None:
        super().__init__()
        self.heads, self.window, self.backend = heads, window, backend
        reach = 2 * (window or side) - 1
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.rows = nn.Parameter(torch.zeros(reach, width // heads))
        self.columns = nn.Parameter(torch.zeros(reach, width // heads))
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.up = nn.Linear(width, mlp_width)
        self.down = nn.Linear(mlp_width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """[views, rows, columns, width] -> [views, rows, columns, width]."""
        normed = self.attention_norm(hidden)
        hidden = hidden + (self._attended(normed) if self.window is None else self._in_windows(normed, self.window))
        result: Tensor = hidden + self.down(F.gelu(self.up(self.mlp_norm(hidden))))
        return result

    def _in_windows(self, normed: Tensor, window: int) -> Tensor:
        """Attend within each window; the last windows are padded with zeros, which are attended to."""
        views, rows, columns, _ = normed.shape
        down, across = -rows % window, -columns % window
        padded = F.pad(normed, (0, 0, 0, across, 0, down))
        tiles = padded.unflatten(1, (-1, window)).unflatten(3, (-1, window)).transpose(2, 3)
        attended = self._attended(tiles.flatten(0, 2))
        grid = ((rows + down) // window, (columns + across) // window)
        plane: Tensor = attended.unflatten(0, (views, *grid)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return plane[:, :rows, :columns]

    def _attended(self, normed: Tensor) -> Tensor:
        """Compute softmax(q k^T / sqrt(d) + q . R_row + q . R_column) v over each [rows, columns, width].

        Each bias depends on the query and one coordinate of the key, so it can be part of the product itself: the query
        is extended by its two rows of biases, the key by two one-hot vectors of its coordinates. Kernels then need no
        support for biases, and no queries x keys bias is ever built.
        """
        _, rows, columns, _ = normed.shape
        query, key, value = self.qkv(normed.flatten(1, 2)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        plane = query.unflatten(1, (rows, columns))
        down = torch.einsum("byxhc,ykc->byxhk", plane, relative(self.rows, rows))
        across = torch.einsum("byxhc,xkc->byxhk", plane, relative(self.columns, columns))
        head_width = query.shape[-1]
        query = torch.cat([query * head_width**-0.5, down.flatten(1, 2), across.flatten(1, 2)], dim=-1)
        key = torch.cat([key, _coordinates(rows, columns, key)], dim=-1)
        value = F.pad(value, (0, rows + columns))  # kernels need one head width for all
        attended = attention(query, key, value, scale=1.0, backend=self.backend)[..., :head_width]
        result: Tensor = self.out(attended.flatten(2)).unflatten(1, (rows, columns))
        return result


class Neck(nn.Module):
    """Two convolutions, each followed by a norm over channels."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, out_width, 1, bias=False)
        self.reduce_norm = nn.LayerNorm(out_width, eps=1e-6)
        self.mix = nn.Conv2d(out_width, out_width, 3, padding=1, bias=False)
        self.mix_norm = nn.LayerNorm(out_width, eps=1e-6)

    def forward(self, hidden: Tensor) -> Tensor:
        """[views, rows, columns, width] -> [views, out_width, rows, columns]."""
        plane = self.reduce_norm(self.reduce(hidden.movedim(-1, 1)).movedim(1, -1)).movedim(-1, 1)
        result: Tensor = self.mix_norm(self.mix(plane).movedim(1, -1)).movedim(-1, 1)
        return result


def relative(table: Tensor, size: int) -> Tensor:
    """The table's rows for all pairs of positions along one axis: [size queries, size keys, channels].

    A table whose length is not 2 size - 1 is interpolated linearly.
    """
    if len(table) != 2 * size - 1:
        lengthened = F.interpolate(table.float().T[None], size=2 * size - 1, mode="linear", align_corners=False)
        table = lengthened[0].T.to(table.dtype)
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places[None] + size - 1]


def _coordinates(rows: int, columns: int, like: Tensor) -> Tensor:
    """One-hot row and column of each key: [views, rows*columns, heads, rows + columns]."""
    down = torch.eye(rows, device=like.device, dtype=like.dtype)[:, None].expand(-1, columns, -1)
    across = torch.eye(columns, device=like.device, dtype=like.dtype)[None].expand(rows, -1, -1)
    flat = torch.cat([down, across], dim=-1).flatten(0, 1)
    return flat[None, :, None].expand(len(like), -1, like.shape[2], -1)

"""MoonViT, for pictures at their own resolution, and LLaVA-UHD v3's ViT-UHD, which compresses tokens on the way."""

from collections.abc import Sequence
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from foveal.core import Backend, Grid, Lengths, Size, pack, runs_packed, unpack
from foveal.encoders.block import run_block
from foveal.encoders.compression import Compression, MeanCompression, WindowedTokenCompression, halved, windows_of
from foveal.encoders.encoder import HALF, Colour, Encoder, cells, embedded_views
from foveal.encoders.positions import resampled
from foveal.encoders.rotary import InterleavedRotaryBlock, Rotation, interleaved_grid_rotation

ROTARY_BASE = 10000.0


class MoonViT(Encoder):
    """A transformer on any grid, with learned positions and rotations (Kimi-VL, arXiv 2504.07491, section 2.1).

    With `compress_after` it is ViT-UHD (LLaVA-UHD v3, arXiv 2511.21150; released code): after these blocks, 2 x 2
    tokens become one, and the blocks that follow rotate by the rows and columns of the smaller grid, counted from 0.

    Args:
        width: channels.
        depth: number of blocks.
        heads: attention heads; their width is a multiple of 4.
        mlp_width: channels inside the feed-forward layers.
        patch_size: pixels along one side of a patch.
        image_size: pixels along one side of the native view; the position table has its grid, and is resampled
            bicubically for other grids.
        compress_after: numbers of blocks, from 1 to `depth`, after which tokens are compressed.
        compression: `learned`: `WindowedTokenCompression`; `mean`: the mean of four tokens.
        norm_eps: epsilon of the layer norms.
        checkpointing: recompute blocks in the backward pass instead of keeping their activations.
        backend: attention kernel, see `foveal.core.attention`.
        image_mean: see `Encoder`.
        image_std: see `Encoder`.

    Raises:
        ValueError: if sizes do not divide each other, or `compress_after` is not ascending from 1 to `depth`.
    """

    tables: ClassVar[tuple[str, ...]] = ("positions",)

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        patch_size: int,
        image_size: int,
        *,
        compress_after: tuple[int, ...] = (),
        compression: Compression = "learned",
        norm_eps: float = 1e-5,
        checkpointing: bool = False,
        backend: Backend = "auto",
        image_mean: Colour = HALF,
        image_std: Colour = HALF,
    ) -> None:
        super().__init__()
        if heads < 1 or width < 1 or width % (4 * heads):
            raise ValueError(f"width {width} is not a multiple of 4 x heads {heads}: rotation needs pairs of pairs")
        if patch_size < 1 or image_size < patch_size or image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        if list(compress_after) != sorted(set(compress_after) & set(range(1, depth + 1))):
            raise ValueError(f"compress_after {tuple(compress_after)} must be ascending blocks from 1 to {depth}")
        if compression not in get_args(Compression):
            raise ValueError(f"unknown compression {compression!r}: {' or '.join(get_args(Compression))}")
        self.width, self.depth, self.heads, self.mlp_width = width, depth, heads, mlp_width
        self.patch_size, self.image_size, self.norm_eps = patch_size, image_size, norm_eps
        self.compress_after, self.compression = tuple(compress_after), compression
        self.checkpointing, self.backend = checkpointing, backend
        self.image_mean, self.image_std = image_mean, image_std
        self.widths = (width,)

        side = image_size // patch_size
        self.native_grid = Grid(side, side)
        self.patches = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.positions = nn.Parameter(torch.empty(side * side, width).normal_(std=0.02))
        self.blocks = nn.ModuleList(
            InterleavedRotaryBlock(width, heads, mlp_width, "gelu_tanh", norm_eps, backend) for _ in range(depth)
        )
        new = MeanCompression if compression == "mean" else lambda: WindowedTokenCompression(width)
        self.compressions = nn.ModuleDict({str(after - 1): new() for after in compress_after})
        self.final_norm = nn.LayerNorm(width, eps=norm_eps)

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        self.check_inputs(len(sizes))
        factor = 2 ** len(self.compress_after)
        cells(sizes[0], self.patch_size * factor)
        rows, columns = cells(sizes[0], self.patch_size)
        return (Grid(rows // factor, columns // factor),)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """[views, 3, height, width] -> [views, rows*columns, width]"""
        views = self.one_input(pixels)
        self.grids(Size.of_view(views))
        return (self._run(self.embed(views), [cells(Size.of_view(views), self.patch_size)], None),)

    def encode_views(self, views: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """Like `Encoder.encode_views`; packs views into one sequence where the kernel can."""
        if not views or not runs_packed(self.positions[0].unflatten(0, (self.heads, -1)), self.backend):
            return super().encode_views(views)
        sizes = [Size.of_view(view) for view in views]
        final = [self.grids(size)[0].cells for size in sizes]
        packed, lengths = pack(embedded_views(views, self.embed))
        result = self._run(packed, [cells(size, self.patch_size) for size in sizes], lengths)
        return [(tokens,) for tokens in unpack(result, final)]

    def embed(self, pixels: Tensor) -> Tensor:
        """[views, 3, height, width] -> [views, rows*columns, width], the input of the first block."""
        grid = cells(Size.of_view(pixels), self.patch_size)
        embedded: Tensor = self.patches(pixels).flatten(2).mT + self.positions_of(grid)
        return embedded

    def positions_of(self, grid: Grid) -> Tensor:
        """The position table for a grid, [rows*columns, width]."""
        return resampled(self.positions, self.native_grid, grid)

    def _run(self, hidden: Tensor, grids: list[Grid], lengths: Lengths | None) -> Tensor:
        """All blocks, on views of one grid, or on views packed one after the other if there are `lengths`."""
        rotation = self._rotation(grids)
        for number, block in enumerate(self.blocks):
            hidden = run_block(block, hidden, lengths, rotation, recomputed=self.checkpointing and self.training)
            if str(number) in self.compressions:
                hidden = self.compressions[str(number)](windows_of(hidden, grids))
                grids = [halved(grid) for grid in grids]
                lengths = None if lengths is None else Lengths(grid.cells for grid in grids)
                rotation = self._rotation(grids)
        normed: Tensor = self.final_norm(hidden)
        return normed

    def _rotation(self, grids: list[Grid]) -> Rotation:
        head_width, device = self.width // self.heads, self.positions.device
        return Rotation.joined(interleaved_grid_rotation(grid, head_width, ROTARY_BASE, device) for grid in grids)

"""A vision transformer that merges patches after its first blocks: MiniCPM-V 4.6 and LLaVA-UHD v4."""

from collections.abc import Sequence
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core import Backend, Grid, Lengths, Size, attention, pack, runs_packed, unpack
from foveal.encoders.block import Activation, Block, run_block
from foveal.encoders.encoder import HALF, Colour, Encoder, cells, embedded_views

WINDOW = 2
"""Patches along one side of a window, which becomes one token."""


class WindowCompression(nn.Module):
    """Each window of 2x2 patches becomes one: attention inside the window, then an MLP on its patches side by side,
    added to their mean (LLaVA-UHD v4, arXiv 2605.08985, section 3; transformers' MiniCPMV4_6ViTWindowAttentionMerger).
    """

    def __init__(self, width: int, heads: int, mlp_width: int, norm_eps: float, backend: Backend) -> None:
        super().__init__()
        patches = WINDOW * WINDOW
        self.heads, self.backend = heads, backend
        self.attention_norm = nn.LayerNorm(width, eps=norm_eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(patches * width, eps=norm_eps)
        self.up = nn.Linear(patches * width, patches * mlp_width)
        self.down = nn.Linear(patches * mlp_width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, patches, width], four patches of a window after the other -> [batch, patches / 4, width]."""
        batch, patches, width = hidden.shape
        windows = hidden.reshape(-1, WINDOW * WINDOW, width)
        query, key, value = self.qkv(self.attention_norm(windows)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        windows = windows + self.out(attention(query, key, value, backend=self.backend).flatten(2))
        inner = F.gelu(self.up(self.mlp_norm(windows.flatten(1))), approximate="tanh")
        merged: Tensor = self.down(inner) + windows.mean(dim=1)
        return merged.view(batch, patches // (WINDOW * WINDOW), width)


class EarlyCompressionViT(Encoder):
    """SigLIP's tower on views of any size, which merges every 2x2 patches after its first blocks (LLaVA-UHD v4, arXiv
    2605.08985, section 3). The blocks after that see a quarter of the patches.

    A patch's position is its place in the view as a fraction, rounded down to a cell of the square table (as in
    Idefics2, arXiv 2405.02246, and MiniCPM-V; NaViT, arXiv 2307.06304, section 2.1, has a table for each axis).

    Args:
        width: channels.
        depth: number of blocks.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        patch_size: pixels along one side of a patch.
        image_size: pixels along one side of the square view whose patches the position table has.
        compress_after: number of blocks before patches are merged; null: patches are not merged.
        activation: see `VisionTransformer`.
        norm_eps: epsilon of the layer norms.
        checkpointing: recompute blocks in the backward pass instead of keeping their activations.
        backend: attention kernel, see `foveal.core.attention`.
        image_mean: see `Encoder`.
        image_std: see `Encoder`.

    Raises:
        ValueError: if sizes do not divide each other, the activation is unknown, or there are not so many blocks.
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
        compress_after: int | None = 7,
        activation: Activation = "gelu_tanh",
        norm_eps: float = 1e-6,
        checkpointing: bool = False,
        backend: Backend = "auto",
        image_mean: Colour = HALF,
        image_std: Colour = HALF,
    ) -> None:
        super().__init__()
        if heads < 1 or width < 1 or width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        if not 1 <= patch_size <= image_size:
            raise ValueError(f"image_size {image_size} is smaller than patch_size {patch_size}, or there is no patch")
        if activation not in get_args(Activation):
            raise ValueError(f"unknown activation {activation!r}: {' or '.join(get_args(Activation))}")
        if compress_after is not None and not 1 <= compress_after <= depth:
            raise ValueError(f"compress_after is {compress_after}: patches are merged after one of the {depth} blocks")
        self.width, self.depth, self.heads, self.mlp_width = width, depth, heads, mlp_width
        self.patch_size, self.image_size, self.compress_after = patch_size, image_size, compress_after
        self.activation, self.norm_eps = activation, norm_eps
        self.checkpointing, self.backend = checkpointing, backend
        self.image_mean, self.image_std = image_mean, image_std
        self.widths = (width,)
        self.side = image_size // patch_size
        self.patches = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.positions = nn.Parameter(torch.empty(self.side * self.side, width).normal_(std=0.02))
        self.blocks = nn.ModuleList(Block(width, heads, mlp_width, activation, norm_eps, backend) for _ in range(depth))
        merges = compress_after is not None
        self.compression = WindowCompression(width, heads, mlp_width, norm_eps, backend) if merges else None
        self.final_norm = nn.LayerNorm(width, eps=norm_eps)

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        self.check_inputs(len(sizes))
        if self.compression is None:
            return (cells(sizes[0], self.patch_size),)
        return (cells(sizes[0], WINDOW * self.patch_size),)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """[views, 3, height, width] -> one map, [views, rows*columns, width]."""
        return (self._run(self.embed(self.one_input(pixels)), None),)

    def encode_views(self, views: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """Like `Encoder.encode_views`; packs views into one sequence where the kernel can."""
        if not views or not runs_packed(self.positions[0].unflatten(0, (self.heads, -1)), self.backend):
            return super().encode_views(views)
        packed, lengths = pack(embedded_views(views, self.embed))
        return [(tokens,) for tokens in unpack(self._run(packed, lengths), self._after(lengths))]

    def embed(self, pixels: Tensor) -> Tensor:
        """[views, 3, height, width] -> [views, patches, width], the input of the first block.

        Patches that will be merged are next to each other, so that nothing has to know rows and columns later.
        """
        self.grids(Size.of_view(pixels))
        plane = self.patches(pixels)
        plane = plane + self.positions[self._places(Grid(*plane.shape[2:]))].permute(2, 0, 1)
        if self.compression is not None:
            plane = plane.unflatten(3, (-1, WINDOW)).unflatten(2, (-1, WINDOW)).transpose(3, 4)
        tokens: Tensor = plane.flatten(2).mT
        return tokens

    def _places(self, grid: Grid) -> Tensor:
        """Rows of the position table for the patches of a view, [rows, columns]."""
        # On the CPU and exactly this expression: its last bit decides into which cell a fraction on the edge falls.
        edges = torch.arange(1 / self.side, 1.0, 1 / self.side, device="cpu")
        row, column = (
            torch.bucketize(torch.arange(number, device="cpu") / number, edges, right=True) for number in grid
        )
        return (row[:, None] * self.side + column).to(self.positions.device)

    def _run(self, hidden: Tensor, lengths: Sequence[int] | None) -> Tensor:
        for number, block in enumerate(self.blocks, start=1):
            hidden = run_block(block, hidden, lengths, recomputed=self.checkpointing and self.training)
            if self.compression is not None and number == self.compress_after:
                hidden = self.compression(hidden)
                lengths = None if lengths is None else self._after(lengths)
        result: Tensor = self.final_norm(hidden)
        return result

    def _after(self, lengths: Sequence[int]) -> Lengths:
        """Tokens of each view at the end, from its patches."""
        return Lengths(length // (1 if self.compression is None else WINDOW * WINDOW) for length in lengths)

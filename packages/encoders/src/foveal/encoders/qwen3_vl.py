"""Qwen3-VL's image tower: pictures in their native resolution, with learned and with rotary positions."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from foveal.core import Backend, Grid, KeyMap, Size, pack, runs_packed, unpack
from foveal.encoders.block import Activation, run_block
from foveal.encoders.encoder import HALF, Colour, Encoder, cells, embedded_views, hidden_states
from foveal.encoders.positions import resampled
from foveal.encoders.rotary import RotaryBlock, Rotation, grid_rotation

KINDS = ("weight", "bias")
PARTS = {
    "norm1": "attention_norm",
    "norm2": "mlp_norm",
    "attn.qkv": "qkv",
    "attn.proj": "out",
    "mlp.linear_fc1": "up",
    "mlp.linear_fc2": "down",
}
TRANSFORMERS = KeyMap(
    {
        **{f"patch_embed.proj.{kind}": f"patches.{kind}" for kind in KINDS},
        "pos_embed.weight": "positions",
        **{
            f"blocks.{{}}.{published}.{kind}": f"blocks.{{}}.{ours}.{kind}"
            for published, ours in PARTS.items()
            for kind in KINDS
        },
    }
)
"""transformers' names, after the prefix `model.visual.`, without the mergers."""


class Qwen3VisionTransformer(Encoder):
    """An image tower on any grid whose positions are both learned and rotary (Qwen3-VL, arXiv 2511.21631, section 2).

    The learned positions of the native grid are resampled bilinearly, corner to corner, for other grids. In attention,
    queries and keys are rotated by row and column. The tower was made for video: a patch covers `frames` frames, and a
    picture is a still of as many. The maps are states between blocks, without a final norm.

    Args:
        width: channels.
        depth: number of blocks.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        patch_size: pixels along one side of a patch.
        image_size: pixels along one side of the view whose grid the position table has.
        layers: hidden states to return: 0 is the input of the first block, i the output of block i, -1 the output of
            the last block.
        frames: frames of a patch.
        activation: see `VisionTransformer`.
        rotary_base: base of the rotary frequencies.
        checkpointing: recompute blocks in the backward pass instead of keeping their activations.
        backend: attention kernel, see `foveal.core.attention`.
        image_mean: see `Encoder`.
        image_std: see `Encoder`.

    Raises:
        ValueError: if sizes do not divide each other, heads cannot be rotated, a layer does not exist, or the
            activation is unknown.
    """

    tables: ClassVar[tuple[str, ...]] = ("positions",)

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        patch_size: int = 16,
        image_size: int = 768,
        *,
        layers: tuple[int, ...] = (-1,),
        frames: int = 2,
        activation: Activation = "gelu_tanh",
        rotary_base: float = 10_000.0,
        checkpointing: bool = False,
        backend: Backend = "auto",
        image_mean: Colour = HALF,
        image_std: Colour = HALF,
    ) -> None:
        super().__init__()
        if heads < 1 or width < 1 or width % (4 * heads):
            raise ValueError(f"width {width} is not a multiple of 4 x {heads} heads, as rotary rows and columns need")
        if patch_size < 1 or image_size < patch_size or image_size % patch_size or frames < 1:
            raise ValueError(
                f"image_size {image_size} must be a multiple of patch_size {patch_size}, frames {frames} at least 1"
            )
        if activation not in get_args(Activation):
            raise ValueError(f"unknown activation {activation!r}: {' or '.join(get_args(Activation))}")
        self.states = hidden_states(layers, depth)
        self.width, self.depth, self.heads, self.mlp_width = width, depth, heads, mlp_width
        self.patch_size, self.image_size, self.layers, self.frames = patch_size, image_size, tuple(layers), frames
        self.activation, self.rotary_base = activation, rotary_base
        self.checkpointing, self.backend = checkpointing, backend
        self.image_mean, self.image_std = image_mean, image_std
        self.widths = (width,) * len(self.layers)

        side = image_size // patch_size
        self.native_grid = Grid(side, side)
        self.patches = nn.Conv2d(3 * frames, width, patch_size, stride=patch_size)
        self.positions = nn.Parameter(torch.empty(side * side, width).normal_(std=0.02))
        self.blocks = nn.ModuleList(
            RotaryBlock(width, heads, mlp_width, activation, 1e-6, backend) for _ in range(max(self.states))
        )

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        self.check_inputs(len(sizes))
        return (cells(sizes[0], self.patch_size),) * len(self.widths)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """[views, 3, height, width] -> [views, rows*columns, width] per requested layer."""
        views = self.one_input(pixels)
        return tuple(self._run(self.embed(views), None, self._rotation(Size.of_view(views))))

    def encode_views(self, views: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """Like `Encoder.encode_views`; packs views into one sequence where the kernel can."""
        if not views or not runs_packed(self.positions[0].unflatten(0, (self.heads, -1)), self.backend):
            return super().encode_views(views)
        rotations = [self._rotation(Size.of_view(view)) for view in views]
        packed, lengths = pack(embedded_views(views, self.embed))
        rotation = Rotation.joined(rotations)
        states = [unpack(state, lengths) for state in self._run(packed, lengths, rotation)]
        return list(zip(*states, strict=True))

    def embed(self, pixels: Tensor) -> Tensor:
        """[views, 3, height, width] -> [views, rows*columns, width], the input of the first block."""
        grid = cells(Size.of_view(pixels), self.patch_size)
        still = pixels.repeat_interleave(self.frames, dim=1)
        embedded: Tensor = self.patches(still).flatten(2).mT + self.positions_of(grid)
        return embedded

    def positions_of(self, grid: Grid) -> Tensor:
        """The position table for a grid, [rows*columns, width]."""
        return resampled(self.positions, self.native_grid, grid, mode="bilinear", align_corners=True)

    def _rotation(self, size: Size) -> Rotation:
        grid = cells(size, self.patch_size)
        return grid_rotation(grid, self.width // self.heads, self.rotary_base, self.positions.device)

    def _run(self, hidden: Tensor, lengths: Sequence[int] | None, rotation: Rotation) -> list[Tensor]:
        """The requested hidden states, in the requested order."""
        kept = {0: hidden}
        for number, block in enumerate(self.blocks, start=1):
            hidden = run_block(block, hidden, lengths, rotation, recomputed=self.checkpointing and self.training)
            if number in self.states:
                kept[number] = hidden
        return [kept[state] for state in self.states]


def qwen3_vision_weights(tensors: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Rename the published tower's weights to those of `Qwen3VisionTransformer`.

    Args:
        tensors: under transformers' names after `model.visual.`, without the mergers.
        source: named in errors.

    Raises:
        ValueError: for an unknown name.
    """
    read = TRANSFORMERS.read(tensors, source=source)
    if "patches.weight" in read and read["patches.weight"].ndim == 5:
        # [width, 3, frames, height, width]: the frames of a colour are neighbouring channels here.
        read["patches.weight"] = read["patches.weight"].flatten(1, 2)
    return read

"""The vision transformer, as CLIP has it."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from foveal.core import Backend, attention, group_by, pack, runs_packed, unpack
from foveal.encoders.encoder import Encoder

Activation = Literal["quick_gelu", "gelu"]
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class VisionTransformer(Encoder):
    """CLIP's image tower on any grid (Radford et al., arXiv 2103.00020, section 2.4; ViT: arXiv 2010.11929).

    The learned positions of the native grid are resampled bicubically for other grids (LLaVA-UHD, arXiv 2403.11703,
    section 3.1). Blocks behind the deepest layer asked for are not built.

    Args:
        width: channels.
        depth: blocks of the published model.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        patch_size: pixels along one side of a patch.
        image_size: pixels along one side of the native, square view; its grid is that of the position table.
        layers: which hidden states to return: 0 is the input of the first block, i the output of block i, -1 the output
            of the last, -2 LLaVA's choice. No norm is applied to them.
        activation: `quick_gelu`: x sigmoid(1.702 x), OpenAI's; `gelu`: the exact one.
        norm_eps: epsilon of the layer norms.
        keep_class_token: return the class token before the grid (LLaVA's `cls_patch`).
        checkpointing: recompute blocks in the backward pass instead of keeping their activations.
        backend: attention kernel, see `foveal.core.attention`.
        image_mean: see `Encoder`.
        image_std: see `Encoder`.

    Raises:
        ValueError: if sizes do not divide each other, a layer does not exist or the activation is unknown.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        patch_size: int,
        image_size: int,
        *,
        layers: tuple[int, ...] = (-2,),
        activation: Activation = "quick_gelu",
        norm_eps: float = 1e-5,
        keep_class_token: bool = False,
        checkpointing: bool = False,
        backend: Backend = "auto",
        image_mean: tuple[float, float, float] = CLIP_MEAN,
        image_std: tuple[float, float, float] = CLIP_STD,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        if not layers or any(not -depth - 1 <= layer <= depth for layer in layers):
            raise ValueError(
                f"layers {layers}: name at least one, each from {-depth - 1} to {depth} for a depth of {depth}"
            )
        if activation not in get_args(Activation):
            raise ValueError(f"unknown activation {activation!r}: {' or '.join(get_args(Activation))}")
        self.width, self.depth, self.heads, self.mlp_width = width, depth, heads, mlp_width
        self.patch_size, self.image_size, self.layers = patch_size, image_size, tuple(layers)
        self.activation, self.norm_eps, self.keep_class_token = activation, norm_eps, keep_class_token
        self.checkpointing, self.backend = checkpointing, backend
        self.image_mean, self.image_std = image_mean, image_std
        self.widths = (width,) * len(self.layers)
        self.prefix_tokens = int(keep_class_token)

        side = image_size // patch_size
        self.native_grid = (side, side)
        self.patches = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        self.class_token = nn.Parameter(torch.empty(width).normal_(std=width**-0.5))
        self.positions = nn.Parameter(torch.empty(1 + side * side, width).normal_(std=0.02))
        self.pre_norm = nn.LayerNorm(width, eps=norm_eps)
        self.states = tuple(layer if layer >= 0 else depth + 1 + layer for layer in self.layers)
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_width, activation, norm_eps, backend) for _ in range(max(self.states))
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._without_class(state) for state in self._run(self._embed(pixels), None))

    def encode_views(self, views: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """As `Encoder.encode_views`; packed into one sequence where the kernel can."""
        if not views or not runs_packed(self.class_token.unflatten(0, (self.heads, -1)), self.backend):
            return super().encode_views(views)
        embedded = [self.class_token] * len(views)
        for indices in group_by(view.shape for view in views).values():
            of_one_shape = self._embed(torch.stack([views[index] for index in indices]))
            for index, tokens in zip(indices, of_one_shape, strict=True):
                embedded[index] = tokens
        packed, lengths = pack(embedded)
        states = [unpack(state, lengths) for state in self._run(packed, lengths)]
        return [
            tuple(self._without_class(state[None])[0] for state in of_view) for of_view in zip(*states, strict=True)
        ]

    def _embed(self, pixels: Tensor) -> Tensor:
        """[views, 3, height, width] -> [views, 1 + rows*columns, width], the input of the first block."""
        if pixels.ndim != 4 or pixels.shape[1] != 3:
            raise ValueError(f"views must be [views, 3, height, width], got {tuple(pixels.shape)}")
        grid = self.grid(pixels.shape[-2], pixels.shape[-1])
        patches = self.patches(pixels).flatten(2).transpose(1, 2)
        class_token = self.class_token.expand(len(pixels), 1, -1)
        embedded: Tensor = self.pre_norm(torch.cat([class_token, patches], dim=1) + self.positions_of(grid))
        return embedded

    def positions_of(self, grid: tuple[int, int]) -> Tensor:
        """The position table for a grid of rows and columns: [1 + rows*columns, width].

        Interpolated in float32 whatever the weights are: in half precision neighbouring positions would collapse.
        """
        if grid == self.native_grid:
            return self.positions
        native = self.positions[1:].unflatten(0, self.native_grid).permute(2, 0, 1)[None]
        resized = F.interpolate(native.float(), size=grid, mode="bicubic", align_corners=False)
        return torch.cat([self.positions[:1], resized[0].flatten(1).T.to(self.positions.dtype)])

    def _run(self, hidden: Tensor, lengths: list[int] | None) -> list[Tensor]:
        """The hidden states asked for, in the order asked."""
        kept = {0: hidden}
        for number, block in enumerate(self.blocks, start=1):
            if self.checkpointing and self.training:
                hidden = checkpoint(block, hidden, lengths, use_reentrant=False)
            else:
                hidden = block(hidden, lengths)
            if number in self.states:
                kept[number] = hidden
        return [kept[state] for state in self.states]

    def _without_class(self, state: Tensor) -> Tensor:
        return state if self.keep_class_token else state[:, 1:]


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a norm and beside a residual path."""

    def __init__(
        self, width: int, heads: int, mlp_width: int, activation: Activation, norm_eps: float, backend: Backend
    ) -> None:
        super().__init__()
        self.heads, self.activation, self.backend = heads, activation, backend
        self.attention_norm = nn.LayerNorm(width, eps=norm_eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=norm_eps)
        self.up = nn.Linear(width, mlp_width)
        self.down = nn.Linear(mlp_width, width)

    def forward(self, hidden: Tensor, lengths: list[int] | None) -> Tensor:
        """[batch, tokens, width] -> the same; `lengths` are those of packed sequences."""
        query, key, value = self.qkv(self.attention_norm(hidden)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        attended = attention(query, key, value, lengths=lengths, backend=self.backend)
        hidden = hidden + self.out(attended.flatten(2))
        inner = self.up(self.mlp_norm(hidden))
        inner = inner * torch.sigmoid(1.702 * inner) if self.activation == "quick_gelu" else F.gelu(inner)
        result: Tensor = hidden + self.down(inner)
        return result

"""The vision transformer of CLIP, SigLIP, DINOv2 and InternViT."""

from collections.abc import Sequence
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from foveal.core import Backend, Grid, Size, pack, runs_packed, unpack
from foveal.encoders.block import Activation, Block, Norm, run_block
from foveal.encoders.encoder import CLIP_MEAN, CLIP_STD, Colour, Encoder, cells, embedded_views, hidden_states
from foveal.encoders.positions import resampled


class VisionTransformer(Encoder):
    """An image tower on any grid (ViT, arXiv 2010.11929; by default CLIP's, arXiv 2103.00020, section 2.4).

    The learned positions of the native grid are resampled bicubically for other grids (LLaVA-UHD, arXiv 2403.11703,
    section 3.1). Blocks after the deepest requested layer are not built.

    Args:
        width: channels.
        depth: number of blocks in the published model.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        patch_size: pixels along one side of a patch.
        image_size: pixels along one side of the native, square view; the position table has its grid (an incomplete
            patch at the edge is left out).
        layers: hidden states to return: 0 is the input of the first block, i the output of block i, -1 the output of
            the last block, -2 LLaVA's choice. No norm is applied to them unless `use_final_norm` is set.
        activation: `quick_gelu`: x sigmoid(1.702 x), OpenAI's; `gelu`: exact; `gelu_tanh`: its approximation; `swiglu`:
            gated, as in the largest DINOv2.
        norm_eps: epsilon of the layer norms.
        use_class_token: put a learned token before the patches; SigLIP has none.
        num_registers: number of learned tokens without position between the class token and the patches (2309.16588);
            they are never returned.
        patch_bias: give the patch embedding a bias (SigLIP, DINOv2).
        use_pre_norm: apply a norm before the first block (CLIP).
        use_final_norm: apply a norm to the last block's output, if that layer is requested.
        layer_scale: see `Block` (DINOv2).
        norm: norms of the blocks: `layer`, or `rms` (arXiv 1910.07467), as in the largest InternViT.
        qkv_bias: give the projections to queries, keys and values a bias; the largest InternViT has none.
        norm_queries: see `Block` (the largest InternViT).
        keep_class_token: return the class token before the grid (LLaVA's `cls_patch`).
        antialias: antialias positions when they are resampled, as LLaVA-HR does.
        checkpointing: recompute blocks in the backward pass instead of keeping their activations.
        backend: attention kernel, see `foveal.core.attention`.
        image_mean: see `Encoder`.
        image_std: see `Encoder`.

    Raises:
        ValueError: if sizes do not divide each other, a layer does not exist, the activation or the norm is unknown, or
            there is no class token to keep.
    """

    tables: ClassVar[tuple[str, ...]] = ("registers", "positions")

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
        use_class_token: bool = True,
        num_registers: int = 0,
        patch_bias: bool = False,
        use_pre_norm: bool = True,
        use_final_norm: bool = False,
        layer_scale: bool = False,
        norm: Norm = "layer",
        qkv_bias: bool = True,
        norm_queries: bool = False,
        keep_class_token: bool = False,
        antialias: bool = False,
        checkpointing: bool = False,
        backend: Backend = "auto",
        image_mean: Colour = CLIP_MEAN,
        image_std: Colour = CLIP_STD,
    ) -> None:
        super().__init__()
        if heads < 1 or width < 1 or width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        if not 1 <= patch_size <= image_size:
            raise ValueError(f"image_size {image_size} is smaller than patch_size {patch_size}, or there is no patch")
        if activation not in get_args(Activation):
            raise ValueError(f"unknown activation {activation!r}: {' or '.join(get_args(Activation))}")
        if norm not in get_args(Norm):
            raise ValueError(f"unknown norm {norm!r}: {' or '.join(get_args(Norm))}")
        if keep_class_token and not use_class_token:
            raise ValueError("keep_class_token is set, but there is no class token")
        self.states = hidden_states(layers, depth)
        self.width, self.depth, self.heads, self.mlp_width = width, depth, heads, mlp_width
        self.patch_size, self.image_size, self.layers = patch_size, image_size, tuple(layers)
        self.activation, self.norm_eps, self.keep_class_token = activation, norm_eps, keep_class_token
        self.use_class_token, self.num_registers, self.patch_bias = use_class_token, num_registers, patch_bias
        self.use_pre_norm, self.use_final_norm = use_pre_norm, use_final_norm
        self.layer_scale, self.antialias = layer_scale, antialias
        self.norm, self.qkv_bias, self.norm_queries = norm, qkv_bias, norm_queries
        self.checkpointing, self.backend = checkpointing, backend
        self.image_mean, self.image_std = image_mean, image_std
        self.widths = (width,) * len(self.layers)
        self.prefix_tokens = int(keep_class_token)

        side = image_size // patch_size
        self.native_grid = Grid(side, side)
        self.patches = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=patch_bias)
        self.class_token = nn.Parameter(torch.empty(width).normal_(std=width**-0.5)) if use_class_token else None
        self.registers = nn.Parameter(torch.empty(num_registers, width).normal_(std=0.02)) if num_registers else None
        self.positions = nn.Parameter(torch.empty(int(use_class_token) + side * side, width).normal_(std=0.02))
        self.pre_norm = nn.LayerNorm(width, eps=norm_eps) if use_pre_norm else None
        self.blocks = nn.ModuleList(
            Block(
                width,
                heads,
                mlp_width,
                activation,
                norm_eps,
                backend,
                layer_scale=layer_scale,
                norm=norm,
                qkv_bias=qkv_bias,
                norm_queries=norm_queries,
            )
            for _ in range(max(self.states))
        )
        normed = use_final_norm and depth in self.states
        self.final_norm = nn.LayerNorm(width, eps=norm_eps) if normed else None

    def grid(self, size: Size) -> Grid:
        """Rows and columns of patches in a view of this size.

        In a native view an incomplete patch at the edge is left out, as for SigLIP's 384 pixels and patches of 14.

        Raises:
            ValueError: if the view is not native and the patch does not divide it.
        """
        return self.native_grid if size == (self.image_size, self.image_size) else cells(size, self.patch_size)

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        self.check_inputs(len(sizes))
        return (self.grid(sizes[0]),) * len(self.widths)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """[views, 3, height, width] -> [views, prefix_tokens + rows*columns, width] per requested layer."""
        return tuple(self._grid_only(state) for state in self._run(self.embed(self.one_input(pixels)), None))

    def encode_views(self, views: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """Like `Encoder.encode_views`; packs views into one sequence where the kernel can."""
        if not views or not runs_packed(self.positions[0].unflatten(0, (self.heads, -1)), self.backend):
            return super().encode_views(views)
        packed, lengths = pack(embedded_views(views, self.embed))
        states = [unpack(state, lengths) for state in self._run(packed, lengths)]
        return [tuple(self._grid_only(state[None])[0] for state in of_view) for of_view in zip(*states, strict=True)]

    @property
    def extra_tokens(self) -> int:
        """Number of tokens before the patches inside the tower: the class token and the registers."""
        return int(self.use_class_token) + self.num_registers

    def embed(self, pixels: Tensor) -> Tensor:
        """[views, 3, height, width] -> [views, extra_tokens + rows*columns, width], the input of the first block."""
        grid = self.grid(Size.of_view(pixels))
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(pixels), 1, -1), tokens], dim=1)
        tokens = tokens + self.positions_of(grid)
        if self.registers is not None:
            registers, first = self.registers.expand(len(pixels), -1, -1), int(self.use_class_token)
            tokens = torch.cat([tokens[:, :first], registers, tokens[:, first:]], dim=1)
        embedded: Tensor = tokens if self.pre_norm is None else self.pre_norm(tokens)
        return embedded

    def positions_of(self, grid: Grid) -> Tensor:
        """The position table for a grid: the class token's row, if there is one, then [rows*columns, width]."""
        if grid == self.native_grid:
            return self.positions
        first = int(self.use_class_token)
        patches = resampled(self.positions[first:], self.native_grid, grid, antialias=self.antialias)
        return torch.cat([self.positions[:first], patches])

    def run_block(self, number: int, hidden: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """Run block `number`, counted from 0, on [batch, tokens, width]; checkpointed if requested."""
        return run_block(self.blocks[number], hidden, lengths, recomputed=self.checkpointing and self.training)

    def _run(self, hidden: Tensor, lengths: Sequence[int] | None) -> list[Tensor]:
        """The requested hidden states, in the requested order."""
        kept = {0: hidden}
        for number in range(len(self.blocks)):
            hidden = self.run_block(number, hidden, lengths)
            if number + 1 in self.states:
                kept[number + 1] = hidden
        if self.final_norm is not None:
            kept[self.depth] = self.final_norm(kept[self.depth])
        return [kept[state] for state in self.states]

    def _grid_only(self, state: Tensor) -> Tensor:
        patches = state[:, self.extra_tokens :]
        return torch.cat([state[:, :1], patches], dim=1) if self.keep_class_token else patches

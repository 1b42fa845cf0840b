"""TokenPacker: coarse queries, each of which reads its own block of finer features."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.connector import Connector, Widths, several_widths
from foveal.connectors.mlp import mlp
from foveal.connectors.shuffle import cells_of_blocks, shuffled
from foveal.core import Backend, Grid, KeyMap, attention

KINDS = ("weight", "bias")

TOKEN_PACKER = KeyMap(
    {
        "q_proj_1.weight": "query_projection.weight",
        "clip_attn.in_proj_weight": "qkv_weight",
        "clip_attn.in_proj_bias": "qkv_bias",
        **{
            f"{published}.{kind}": f"{ours}.{kind}"
            for published, ours in {
                "k_proj_1.{}": "key_projection.{}",
                "v_proj_1.{}": "value_projection.{}",
                "ln_q_1": "query_norm",
                "ln_k_1": "key_norm",
                "ln_v_1": "value_norm",
                "clip_attn.out_proj": "out",
                "mlp.{}": "layers.{}",
            }.items()
            for kind in KINDS
        },
    }
)
"""The reference's names, after the prefix `mm_projector.`."""


class TokenPacker(Connector):
    """From coarse to fine (TokenPacker, arXiv 2407.02392, section 3.2).

    The last map, downsampled by `scale`, gives the queries; keys and values come from the concatenated channels of all
    other maps, and each query sees the `scale` x `scale` cells under it. The published model uses CLIP's layers 12, 16,
    22, 23 and 23 again.

    Args:
        in_width: channels of every map.
        out_width: channels of the language model.
        scale: cells along one side of a block.
        hidden_width: channels of the attention.
        heads: attention heads.
        backend: attention kernel, see `foveal.core.attention`.

    Raises:
        ValueError: if there is only one map, or sizes do not divide.
    """

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        scale: int = 2,
        hidden_width: int = 1024,
        heads: int = 8,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.in_width = several_widths(in_width)
        if scale < 1 or heads < 1 or hidden_width % heads:
            raise ValueError(f"scale {scale} must be at least 1, heads {heads} must divide hidden_width {hidden_width}")
        self.out_width, self.scale, self.hidden_width = out_width, scale, hidden_width
        self.heads, self.backend = heads, backend
        fine = sum(self.in_width[:-1])
        self.query_projection = nn.Linear(self.in_width[-1], hidden_width, bias=False)
        self.key_projection, self.value_projection = mlp(fine, hidden_width, 2), mlp(fine, hidden_width, 2)
        self.query_norm, self.key_norm, self.value_norm = (nn.LayerNorm(hidden_width, eps=1e-6) for _ in range(3))
        self.qkv_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * hidden_width, hidden_width)))
        self.qkv_bias = nn.Parameter(torch.zeros(3 * hidden_width))
        self.out = nn.Linear(hidden_width, hidden_width)
        self.layers = mlp(hidden_width, out_width, 2)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def num_tokens(self, *grids: Grid) -> int:
        rows, columns = self.blocks(grids)
        return rows * columns

    def out_grid(self, *grids: Grid) -> Grid | None:
        return self.blocks(grids)

    def blocks(self, grids: Sequence[Grid]) -> Grid:
        """Rows and columns of queries.

        Raises:
            ValueError: if the grids differ, or blocks do not fill them.
        """
        (rows, columns), *others = set(grids)
        if others or rows % self.scale or columns % self.scale:
            raise ValueError(f"TokenPacker takes one grid for all maps, divisible by {self.scale}, not {list(grids)}")
        return Grid(rows // self.scale, columns // self.scale)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, width] per map -> [views, cells / scale**2, out_width]."""
        maps, grids = self.checked(maps, grids, mask)
        blocks = self.blocks(grids)
        plane = maps[-1].mT.unflatten(2, grids[-1])
        coarse = F.interpolate(plane.float(), size=blocks, mode="bilinear", align_corners=False).to(plane)
        query = self.query_norm(self.query_projection(coarse.flatten(2).mT))
        fine = torch.cat(list(maps[:-1]), dim=-1)
        key, value = self.key_norm(self.key_projection(fine)), self.value_norm(self.value_projection(fine))
        # Each query is a sequence of length 1 with the cells of its block as keys.
        sources = (
            query.flatten(0, 1)[:, None],
            *(
                shuffled(each, blocks, self.scale).unflatten(-1, (-1, self.hidden_width)).flatten(0, 1)
                for each in (key, value)
            ),
        )
        weights, biases = self.qkv_weight.chunk(3), self.qkv_bias.chunk(3)
        heads = (
            F.linear(source, weight, bias).unflatten(-1, (self.heads, -1))
            for source, weight, bias in zip(sources, weights, biases, strict=True)
        )
        attended = attention(*heads, backend=self.backend).reshape(len(query), -1, self.hidden_width)
        tokens: Tensor = self.layers(self.out(attended))
        return tokens

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        """What each query sees of its block; keys join the channels of all maps but the last, which count alike."""
        in_blocks = next(seen).flatten(0, 1)
        fine = torch.einsum("qk,qkn->qn", in_blocks, cells_of_blocks(grids[0], self.scale)) / (len(grids) - 1)
        return [*[fine] * (len(grids) - 1), torch.zeros_like(fine)]

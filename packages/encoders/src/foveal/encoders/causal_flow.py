"""A tower whose tokens a small language model reads and puts into an order: DeepSeek-OCR 2's encoder."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core import Backend, Grid, Size, attention
from foveal.encoders.block import run_block
from foveal.encoders.encoder import Encoder
from foveal.encoders.rotary import Rotation, rotated, sequence_rotation


class CausalFlowEncoder(Encoder):
    """A tower, then a language model that sees all of its tokens and writes as many queries, one after the other
    (DeepEncoder V2: DeepSeek-OCR 2, arXiv 2601.20552; transformers' `deepseek_ocr2`).

    The tower's tokens come first and see each other; every query sees them and the queries before it. Only the queries
    are returned. They have an order, but no place in the picture: their grid is one row. Each square grid of the tower
    has queries of its own, other grids are refused.

    Args:
        tower: returns one map, without prefix tokens, that is as wide as the language model.
        depth: number of the language model's blocks.
        heads: attention heads for queries.
        key_heads: attention heads for keys and values, each shared by several of the others.
        mlp_width: channels inside the gated feed-forward layers.
        query_sides: rows of the tower's square grids that there are queries for; 12 and 16 for views of 768 and 1024
            pixels.
        rotary_base: base of the rotary frequencies.
        norm_eps: added to the mean square in the norms.
        checkpointing: recompute the language model's blocks in the backward pass instead of keeping their activations.
        backend: attention kernel, see `foveal.core.attention`.

    Raises:
        ValueError: if the tower returns several maps or a class token, looks at several views together, or sizes do
            not divide each other.
    """

    def __init__(
        self,
        tower: Encoder,
        depth: int = 24,
        heads: int = 14,
        key_heads: int = 2,
        mlp_width: int = 4864,
        *,
        query_sides: tuple[int, ...] = (12, 16),
        rotary_base: float = 1_000_000.0,
        norm_eps: float = 1e-6,
        checkpointing: bool = False,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if len(tower.widths) != 1 or tower.prefix_tokens or tower.inputs != 1:
            raise ValueError("the tower must look at one view and return one map without a class token")
        (width,) = tower.widths
        if min(heads, key_heads) < 1 or width % (2 * heads) or heads % key_heads:
            raise ValueError(
                f"the tower's width {width} must be a multiple of twice the heads {heads}, and these of key_heads "
                f"{key_heads}"
            )
        if not query_sides or min(query_sides) < 1 or len(set(query_sides)) < len(query_sides):
            raise ValueError(f"query_sides {tuple(query_sides)}: name at least one, each once and above 0")
        self.tower, self.depth, self.heads, self.key_heads = tower, depth, heads, key_heads
        self.mlp_width, self.query_sides = mlp_width, tuple(query_sides)
        self.rotary_base, self.norm_eps = rotary_base, norm_eps
        self.checkpointing, self.backend = checkpointing, backend
        self.widths = (width,)
        self.image_mean, self.image_std = tower.image_mean, tower.image_std
        self.blocks = nn.ModuleList(
            CausalFlowBlock(width, heads, key_heads, mlp_width, norm_eps, backend) for _ in range(depth)
        )
        self.norm = nn.RMSNorm(width, eps=norm_eps)
        tables = [nn.Embedding(side**2, width) for side in self.query_sides]
        for table in tables:
            nn.init.normal_(table.weight, std=0.02)
        self.queries = nn.ModuleList(tables)

    @property
    def views_of_maps(self) -> tuple[int | None, ...]:
        """Its queries read the whole view, in an order that they choose."""
        return (None,)

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        """One row with all queries.

        Raises:
            ValueError: as for the tower, or if there are no queries for its grid.
        """
        return (Grid(1, self._side(sizes) ** 2),)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """[views, 3, height, width] -> one [views, queries, width]."""
        view = self.one_input(pixels)
        queries = self._queries(self._side((Size.of_view(view),)))
        (seen,) = self.tower(view)
        hidden = torch.cat([seen, queries.to(seen.dtype).expand(len(seen), -1, -1)], dim=1)
        rotation = sequence_rotation(hidden.shape[1], self.widths[0] // self.heads, self.rotary_base, hidden.device)
        for block in self.blocks:
            hidden = run_block(block, hidden, seen.shape[1], rotation, recomputed=self.checkpointing and self.training)
        return (self.norm(hidden[:, seen.shape[1] :]),)

    def _queries(self, side: int) -> Tensor:
        """[side * side, width]; in training with zero from the other tables, since other ranks may wait for their
        gradients."""
        tables = list(self.queries.parameters())
        chosen = tables[self.query_sides.index(side)]
        return chosen + sum(0.0 * table.sum() for table in tables) if self.training else chosen

    def _side(self, sizes: tuple[Size, ...]) -> int:
        """Rows of the tower's grid for a view of this size."""
        self.check_inputs(len(sizes))
        (grid,) = self.tower.grids(*sizes)
        if grid.rows != grid.columns or grid.rows not in self.query_sides:
            raise ValueError(
                f"a view of {sizes[0]} pixels has a grid of {grid}, there are queries for squares of "
                f"{', '.join(map(str, self.query_sides))} only: use views of such sizes"
            )
        return grid.rows


class CausalFlowBlock(nn.Module):
    """A block of Qwen2 (arXiv 2407.10671, section 2.2.1) whose first tokens see each other in both directions."""

    def __init__(
        self, width: int, heads: int, key_heads: int, mlp_width: int, norm_eps: float, backend: Backend
    ) -> None:
        super().__init__()
        self.heads, self.key_heads, self.backend = heads, key_heads, backend
        shared = key_heads * (width // heads)
        self.attention_norm = nn.RMSNorm(width, eps=norm_eps)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, shared)
        self.value = nn.Linear(width, shared)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.RMSNorm(width, eps=norm_eps)
        self.gate = nn.Linear(width, mlp_width, bias=False)
        self.up = nn.Linear(width, mlp_width, bias=False)
        self.down = nn.Linear(mlp_width, width, bias=False)

    def forward(self, hidden: Tensor, seen: int, rotation: Rotation) -> Tensor:
        """[views, tokens, width] -> [views, tokens, width].

        Args:
            hidden: the tower's tokens, then the queries.
            seen: number of the tower's tokens.
            rotation: of all of these tokens.
        """
        normed = self.attention_norm(hidden)
        query = rotated(self.query(normed).unflatten(-1, (self.heads, -1)), rotation)
        key = rotated(self.key(normed).unflatten(-1, (self.key_heads, -1)), rotation)
        value = self.value(normed).unflatten(-1, (self.key_heads, -1))
        # For the queries, which come last, a causal mask is what they need; the tokens before them get another pass.
        whole = attention(query, key, value, causal=True, backend=self.backend)[:, seen:]
        first = attention(query[:, :seen], key[:, :seen], value[:, :seen], backend=self.backend)
        hidden = hidden + self.out(torch.cat([first, whole], dim=1).flatten(2))
        normed = self.mlp_norm(hidden)
        result: Tensor = hidden + self.down(F.silu(self.gate(normed)) * self.up(normed))
        return result

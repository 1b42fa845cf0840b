"""The Q-Former: learned queries that read the image by cross-attention."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.attention import CrossAttention
from foveal.connectors.connector import Connector, Widths, one_width
from foveal.connectors.relevance.maps import query_to_patch
from foveal.core import Backend, Grid, KeyMap

KINDS = ("weight", "bias")
TEXT = ("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight", "embeddings.position_ids")


def _table(attention: str, prefix: str, projection: tuple[str, ...]) -> KeyMap:
    """The key map of a naming scheme: its name for attention inside a block, its prefix, its projection names."""
    layer = f"{prefix}encoder.layer.{{}}."
    parts = {
        "intermediate_query.dense": "up",
        "output_query.dense": "down",
        "output_query.LayerNorm": "mlp_norm",
    }
    for published, ours in (("attention", "self"), ("crossattention", "cross")):
        parts |= {
            f"{published}.{attention}.{part}": f"{ours}_attention.{part}" for part in ("query", "key", "value")
        } | {
            f"{published}.output.dense": f"{ours}_attention.out",
            f"{published}.output.LayerNorm": f"{ours}_norm",
        }
    beginnings = ("layernorm", "embeddings.layernorm", "embeddings.LayerNorm")
    text = ("intermediate.dense", "output.dense", "output.LayerNorm")
    return KeyMap(
        {
            "query_tokens": "query",
            **{f"{prefix}{name}.{kind}": f"first_norm.{kind}" for name in beginnings for kind in KINDS},
            **{f"{layer}{name}.{kind}": f"layers.{{}}.{ours}.{kind}" for name, ours in parts.items() for kind in KINDS},
            **{f"{name}.{kind}": f"out_projection.{kind}" for name in projection for kind in KINDS},
            # The weights that read a question with the image (InstructBLIP) are left out.
            **dict.fromkeys(prefix + name for name in TEXT),
            **dict.fromkeys(f"{layer}{name}.{kind}" for name in text for kind in KINDS),
            **dict.fromkeys(f"{prefix.replace('bert.', '')}cls.{{}}.{kind}" for kind in KINDS if "bert" in prefix),
        }
    )


TRANSFORMERS = _table("attention", "qformer.", ("language_projection",))
"""transformers' names for BLIP-2 and InstructBLIP."""

LAVIS = _table("self", "Qformer.bert.", ("opt_proj", "t5_proj", "llm_proj"))
"""The names in the authors' repository."""


class QFormer(Connector):
    """A query transformer (BLIP-2, arXiv 2301.12597, section 3.1): queries attend to each other and, in every
    `cross_every`-th layer, to the features.

    Published weights expect the class token and the normalised last layer of their encoder: set `prefix_tokens` to 1.

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
        queries: tokens per view.
        hidden_width: channels of the layers.
        depth: layers; DeCo's baseline has 2, BLIP-2 12.
        heads: attention heads.
        mlp_width: channels inside the feed-forward layers.
        cross_every: layers 0, `cross_every`, 2 * `cross_every`, ... attend to the features.
        dropout: dropout probability in training, after every sublayer.
        prefix_tokens: rows before the grid that are attended to as well.
        backend: attention kernel, see `foveal.core.attention`.

    Raises:
        ValueError: if a size is below 1 or `heads` does not divide the width.
    """

    supports_mask = True
    needs_grid = False
    tables: ClassVar[tuple[str, ...]] = ("query",)

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        queries: int = 32,
        hidden_width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_width: int = 3072,
        cross_every: int = 2,
        dropout: float = 0.1,
        prefix_tokens: int = 0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.in_width = in_width = one_width(in_width)
        if min(queries, depth, cross_every) < 1:
            raise ValueError(f"queries {queries}, depth {depth} and cross_every {cross_every} must be at least 1")
        self.out_width, self.queries, self.hidden_width, self.depth = out_width, queries, hidden_width, depth
        self.heads, self.mlp_width, self.cross_every, self.dropout = heads, mlp_width, cross_every, dropout
        self.prefix_tokens, self.backend = prefix_tokens, backend
        self.query = nn.Parameter(torch.randn(1, queries, hidden_width) * 0.02)
        self.first_norm = nn.LayerNorm(hidden_width, eps=1e-12)
        self.layers = nn.ModuleList(
            QueryLayer(hidden_width, heads, mlp_width, None if number % cross_every else in_width, dropout, backend)
            for number in range(depth)
        )
        self.out_projection = nn.Linear(hidden_width, out_width)

    def num_tokens(self, *grids: Grid) -> int:
        return self.queries

    def out_grid(self, *grids: Grid) -> Grid | None:
        return None

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, prefix_tokens + cells, in_width] -> [views, queries, out_width]."""
        features, _ = self.single(maps, grids, mask)
        result: Tensor = self.out_projection(self.read(features, mask))
        return result

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        layers = [(next(seen)[0], None if layer.cross_attention is None else next(seen)[0]) for layer in self._layers]
        return [query_to_patch(layers)]

    @property
    def _layers(self) -> list["QueryLayer"]:
        return [layer for layer in self.layers if isinstance(layer, QueryLayer)]

    def read(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """The queries after the last layer, [views, queries, hidden_width], before the projection."""
        tokens = F.dropout(self.first_norm(self.query), self.dropout, self.training).expand(len(features), -1, -1)
        for layer in self.layers:
            tokens = layer(tokens, features, mask)
        return tokens


class QueryLayer(nn.Module):
    """A BERT layer; with `key_width`, there is attention to the features between its two sublayers."""

    def __init__(
        self, width: int, heads: int, mlp_width: int, key_width: int | None, dropout: float, backend: Backend
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.self_attention = CrossAttention(width, heads, backend=backend)
        self.self_norm = nn.LayerNorm(width, eps=1e-12)
        crosses = key_width is not None
        self.cross_attention = CrossAttention(width, heads, key_width=key_width, backend=backend) if crosses else None
        self.cross_norm = nn.LayerNorm(width, eps=1e-12) if crosses else None
        self.up, self.down = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, tokens: Tensor, features: Tensor, mask: Tensor | None) -> Tensor:
        """[views, queries, width] and [views, keys, key_width] -> [views, queries, width]."""
        tokens = self.self_norm(tokens + self.dropout(self.self_attention(tokens, tokens, tokens)))
        if self.cross_attention is not None and self.cross_norm is not None:
            tokens = self.cross_norm(tokens + self.dropout(self.cross_attention(tokens, features, features, mask)))
        result: Tensor = self.mlp_norm(tokens + self.dropout(self.down(F.gelu(self.up(tokens)))))
        return result

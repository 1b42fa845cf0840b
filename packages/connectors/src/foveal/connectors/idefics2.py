"""Idefics2's perceiver resampler: gated layers at the language model's width."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.attention import CrossAttention, with_all
from foveal.connectors.connector import Connector, Widths, one_width
from foveal.connectors.relevance.maps import latent_to_patch
from foveal.core import Backend, Grid, KeyMap

IDEFICS2 = KeyMap(
    {
        **{f"modality_projection.{part}_proj.weight": f"modality.{part}.weight" for part in ("gate", "up", "down")},
        "perceiver_resampler.latents": "latents",
        "perceiver_resampler.norm.weight": "norm.weight",
        **{
            f"perceiver_resampler.layers.{{}}.{published}.weight": f"layers.{{}}.{ours}.weight"
            for published, ours in {
                "input_context_norm": "feature_norm",
                "input_latents_norm": "latent_norm",
                "post_attention_layernorm": "mlp_norm",
                "self_attn.q_proj": "attention.query",
                "self_attn.k_proj": "attention.key",
                "self_attn.v_proj": "attention.value",
                "self_attn.o_proj": "attention.out",
                "mlp.gate_proj": "mlp.gate",
                "mlp.up_proj": "mlp.up",
                "mlp.down_proj": "mlp.down",
            }.items()
        },
    }
)
"""transformers' names for Idefics2, after the prefix `model.connector.`."""


class Idefics2Perceiver(Connector):
    """A gated MLP to the language model's width, then a perceiver resampler (Idefics2, arXiv 2405.02246, section 3.2).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model, and of the latents.
        num_latents: tokens per view.
        depth: layers.
        heads: attention heads.
        head_width: channels per head.
        key_heads: heads of keys and values, each shared by several query heads.
        mlp_width: channels inside the first MLP.
        backend: attention kernel, see `foveal.core.attention`.

    Raises:
        ValueError: if `heads` is not a multiple of `key_heads`.
    """

    supports_mask = True
    needs_grid = False
    tables: ClassVar[tuple[str, ...]] = ("latents",)

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        num_latents: int = 64,
        depth: int = 3,
        heads: int = 16,
        head_width: int = 96,
        key_heads: int = 4,
        mlp_width: int = 14336,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.in_width = in_width = one_width(in_width)
        self.out_width, self.num_latents, self.depth, self.heads = out_width, num_latents, depth, heads
        self.head_width, self.key_heads, self.mlp_width, self.backend = head_width, key_heads, mlp_width, backend
        self.modality = GatedMlp(in_width, mlp_width, out_width)
        self.latents = nn.Parameter(torch.randn(num_latents, out_width) * 0.02)
        self.layers = nn.ModuleList(
            GatedLatentLayer(out_width, heads, head_width, key_heads, backend) for _ in range(depth)
        )
        self.norm = nn.RMSNorm(out_width, eps=1e-6)

    def num_tokens(self, *grids: Grid) -> int:
        return self.num_latents

    def out_grid(self, *grids: Grid) -> Grid | None:
        return None

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> [views, num_latents, out_width]."""
        features, _ = self.single(maps, grids, mask)
        features = self.modality(features)
        latents = self.latents.expand(len(features), -1, -1)
        for layer in self.layers:
            latents = layer(latents, features, mask)
        result: Tensor = self.norm(latents)
        return result

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        cells = grids[0][0] * grids[0][1]
        tables = [next(seen)[0].split([cells, self.num_latents], dim=1) for _ in range(self.depth)]
        return [latent_to_patch([(own, patches) for patches, own in tables])]


class GatedLatentLayer(nn.Module):
    """Like `LatentLayer`, with RMS norms, grouped heads and a gated feed-forward layer."""

    def __init__(self, width: int, heads: int, head_width: int, key_heads: int, backend: Backend) -> None:
        super().__init__()
        self.feature_norm, self.latent_norm, self.mlp_norm = (nn.RMSNorm(width, eps=1e-6) for _ in range(3))
        self.attention = CrossAttention(
            width, heads, head_width=head_width, key_heads=key_heads, bias=False, backend=backend
        )
        self.mlp = GatedMlp(width, 4 * width, width)

    def forward(self, latents: Tensor, features: Tensor, mask: Tensor | None) -> Tensor:
        """[views, latents, width] and [views, cells, width] -> [views, latents, width]."""
        query = self.latent_norm(latents)
        seen = torch.cat([self.feature_norm(features), query], dim=1)
        latents = latents + self.attention(query, seen, seen, with_all(mask, latents.shape[1]))
        result: Tensor = latents + self.mlp(self.mlp_norm(latents))
        return result


class GatedMlp(nn.Module):
    """down(silu(gate x) * up x), without biases."""

    def __init__(self, in_width: int, width: int, out_width: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(in_width, width, bias=False), nn.Linear(in_width, width, bias=False)
        self.down = nn.Linear(width, out_width, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """[..., in_width] -> [..., out_width]."""
        result: Tensor = self.down(F.silu(self.gate(features)) * self.up(features))
        return result

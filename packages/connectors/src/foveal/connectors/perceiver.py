"""Perceiver resamplers: latents that look at the features and at themselves."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.attention import CrossAttention, with_all
from foveal.connectors.connector import Connector, Grid, Widths, one_width
from foveal.core import Backend, KeyMap

FLAMINGO = KeyMap(
    {
        "latents": "latents",
        "frame_embs": "frames",
        "layers.{}.0.to_q.weight": "layers.{}.attention.query.weight",
        "layers.{}.0.to_kv.weight": "layers.{}.key_value",
        "layers.{}.0.to_out.weight": "layers.{}.attention.out.weight",
        "layers.{}.1.1.weight": "layers.{}.up.weight",
        "layers.{}.1.3.weight": "layers.{}.down.weight",
        **{
            f"{published}.{kind}": f"{ours}.{kind}"
            for published, ours in {
                "layers.{}.0.norm_media": "layers.{}.feature_norm",
                "layers.{}.0.norm_latents": "layers.{}.latent_norm",
                "layers.{}.1.0": "layers.{}.mlp_norm",
                "norm": "norm",
            }.items()
            for kind in ("weight", "bias")
        },
    }
)
"""LLaVA-NeXT's `PerceiverResampler`, behind `vision_resampler.`; read it with `flamingo_weights`."""

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
"""transformers' Idefics2, behind `model.connector.`."""


class FlamingoPerceiver(Connector):
    """The perceiver resampler (Flamingo, arXiv 2204.14198, section 3.1.1), then a linear layer.

    Every latent looks at the features and at all latents. Features have no position but those of their encoder.

    Args:
        in_width: channels of the features, and of the latents.
        out_width: channels of the language model.
        num_latents: tokens of a view.
        depth: layers.
        heads: attention heads.
        head_width: channels of a head.
        num_frames: largest number of maps that are the frames of one video; each gets a learned position. 0: none.
        backend: attention kernel, see `foveal.core.attention`.

    Raises:
        ValueError: if there are several maps, more than `num_frames`, or of different widths.
    """

    supports_mask = True
    needs_grid = False

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        num_latents: int = 64,
        depth: int = 6,
        heads: int = 8,
        head_width: int = 64,
        num_frames: int = 0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        widths = (in_width,) if isinstance(in_width, int) else tuple(in_width)
        if len(widths) > max(num_frames, 1) or len(set(widths)) > 1:
            raise ValueError(f"{len(widths)} maps of widths {widths}: at most {max(num_frames, 1)} frames of one width")
        self.in_width, width = in_width if isinstance(in_width, int) else widths, widths[0]
        self.supports_mask = len(widths) == 1
        self.out_width, self.num_latents, self.depth = out_width, num_latents, depth
        self.heads, self.head_width, self.num_frames, self.backend = heads, head_width, num_frames, backend
        self.latents = nn.Parameter(torch.randn(num_latents, width))
        self.frames = nn.Parameter(torch.randn(num_frames, width)) if num_frames else None
        self.layers = nn.ModuleList(LatentLayer(width, heads, head_width, backend) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, out_width)

    def num_tokens(self, *grids: Grid) -> int:
        return self.num_latents

    def out_grid(self, *grids: Grid) -> Grid | None:
        return None

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        self.checked(maps, grids, mask)
        result: Tensor = self.projection(self.read(maps, mask))
        return result

    def read(self, maps: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """What the latents have read, [views, latents, in_width], before it is projected."""
        placed = [each if self.frames is None else each + self.frames[place] for place, each in enumerate(maps)]
        features = torch.cat(placed, dim=1)
        latents = self.latents.expand(len(features), -1, -1)
        for layer in self.layers:
            latents = layer(latents, features, mask)
        result: Tensor = self.norm(latents)
        return result


class LatentLayer(nn.Module):
    """Attention of the latents to features and latents, and a feed-forward layer, behind norms, without biases."""

    def __init__(self, width: int, heads: int, head_width: int, backend: Backend) -> None:
        super().__init__()
        self.feature_norm, self.latent_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.attention = CrossAttention(width, heads, head_width=head_width, bias=False, backend=backend)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, latents: Tensor, features: Tensor, mask: Tensor | None) -> Tensor:
        """[views, latents, width] and [views, cells, width] -> [views, latents, width]"""
        query = self.latent_norm(latents)
        seen = torch.cat([self.feature_norm(features), query], dim=1)
        latents = latents + self.attention(query, seen, seen, with_all(mask, latents.shape[1]))
        result: Tensor = latents + self.down(F.gelu(self.up(self.mlp_norm(latents))))
        return result


class Idefics2Perceiver(Connector):
    """A gated MLP to the language model's width, then a perceiver resampler (Idefics2, arXiv 2405.02246, section 3.2).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model, and of the latents.
        num_latents: tokens of a view.
        depth: layers.
        heads: attention heads.
        head_width: channels of a head.
        key_heads: heads of keys and values, shared by the others.
        mlp_width: channels inside the first MLP.
        backend: attention kernel, see `foveal.core.attention`.

    Raises:
        ValueError: if `heads` is no multiple of `key_heads`.
    """

    supports_mask = True
    needs_grid = False

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
        features, _ = self.single(maps, grids, mask)
        features = self.modality(features)
        latents = self.latents.expand(len(features), -1, -1)
        for layer in self.layers:
            latents = layer(latents, features, mask)
        result: Tensor = self.norm(latents)
        return result


class GatedLatentLayer(nn.Module):
    """As `LatentLayer`, with RMS norms, grouped heads and a gated feed-forward layer."""

    def __init__(self, width: int, heads: int, head_width: int, key_heads: int, backend: Backend) -> None:
        super().__init__()
        self.feature_norm, self.latent_norm, self.mlp_norm = (nn.RMSNorm(width, eps=1e-6) for _ in range(3))
        self.attention = CrossAttention(
            width, heads, head_width=head_width, key_heads=key_heads, bias=False, backend=backend
        )
        self.mlp = GatedMlp(width, 4 * width, width)

    def forward(self, latents: Tensor, features: Tensor, mask: Tensor | None) -> Tensor:
        """[views, latents, width] and [views, cells, width] -> [views, latents, width]"""
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
        """[..., in_width] -> [..., out_width]"""
        result: Tensor = self.down(F.silu(self.gate(features)) * self.up(features))
        return result


def flamingo_weights(tensors: dict[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Weights of LLaVA-NeXT's perceiver under our names, its joined keys and values taken apart.

    Raises:
        ValueError: for an unknown name.
    """
    weights = FLAMINGO.read(tensors, source=source)
    for name in [name for name in weights if name.endswith(".key_value")]:
        joined = weights.pop(name)
        layer = name.removesuffix("key_value")
        weights[f"{layer}attention.key.weight"], weights[f"{layer}attention.value.weight"] = joined.chunk(2)
    return weights

"""Flamingo's perceiver resampler: latents that attend to the features and to themselves."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.connectors.attention import CrossAttention, with_all
from foveal.connectors.connector import Connector, Widths
from foveal.connectors.relevance.maps import latent_to_patch
from foveal.core import Backend, Grid, KeyMap

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
"""LLaVA-NeXT's `PerceiverResampler`, after the prefix `vision_resampler.`; read it with `flamingo_weights`."""


class FlamingoPerceiver(Connector):
    """The perceiver resampler (Flamingo, arXiv 2204.14198, section 3.1.1), then a linear layer.

    Each latent attends to the features and to all latents. No positions are added to those of the encoder.

    Args:
        in_width: channels of the features, and of the latents.
        out_width: channels of the language model.
        num_latents: tokens per view.
        depth: layers.
        heads: attention heads.
        head_width: channels per head.
        mlp_ratio: channels inside the feed-forward layers, as a multiple of `in_width`.
        num_frames: maximum number of maps that are frames of one video; each gets a learned position. 0: no positions.
        backend: attention kernel, see `foveal.core.attention`.

    Raises:
        ValueError: if there are several maps, more than `num_frames`, or of different widths, or if `mlp_ratio` is not
            positive.
    """

    supports_mask = True
    needs_grid = False
    tables: ClassVar[tuple[str, ...]] = ("latents", "frames")

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        num_latents: int = 64,
        depth: int = 6,
        heads: int = 8,
        head_width: int = 64,
        mlp_ratio: int = 4,
        num_frames: int = 0,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        widths = (in_width,) if isinstance(in_width, int) else tuple(in_width)
        if mlp_ratio < 1:
            raise ValueError(f"mlp_ratio must be at least 1, not {mlp_ratio}")
        if len(widths) > max(num_frames, 1) or len(set(widths)) > 1:
            raise ValueError(f"{len(widths)} maps of widths {widths}: at most {max(num_frames, 1)} frames of one width")
        self.in_width, width = in_width if isinstance(in_width, int) else widths, widths[0]
        self.supports_mask = len(widths) == 1
        self.out_width, self.num_latents, self.depth = out_width, num_latents, depth
        self.heads, self.head_width, self.mlp_ratio = heads, head_width, mlp_ratio
        self.num_frames, self.backend = num_frames, backend
        self.latents = nn.Parameter(torch.randn(num_latents, width))
        self.frames = nn.Parameter(torch.randn(num_frames, width)) if num_frames else None
        self.layers = nn.ModuleList(
            LatentLayer(width, heads, head_width, mlp_ratio * width, backend) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, out_width)

    def num_tokens(self, *grids: Grid) -> int:
        return self.num_latents

    def out_grid(self, *grids: Grid) -> Grid | None:
        return None

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] per frame -> [views, num_latents, out_width]."""
        self.checked(maps, grids, mask)
        result: Tensor = self.projection(self.read(maps, mask))
        return result

    def token_to_patch(self, grids: Sequence[Grid], seen: Iterator[Tensor]) -> list[Tensor] | None:
        cells = [rows * columns for rows, columns in grids]
        tables = [next(seen)[0].split([sum(cells), self.num_latents], dim=1) for _ in range(self.depth)]
        return list(latent_to_patch([(own, patches) for patches, own in tables]).split(cells, dim=1))

    def read(self, maps: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """The latents after the last layer, [views, latents, in_width], before the projection."""
        placed = [each if self.frames is None else each + self.frames[place] for place, each in enumerate(maps)]
        features = torch.cat(placed, dim=1)
        latents = self.latents.expand(len(features), -1, -1)
        for layer in self.layers:
            latents = layer(latents, features, mask)
        result: Tensor = self.norm(latents)
        return result


class LatentLayer(nn.Module):
    """Attention of the latents to features and latents, then a feed-forward layer; pre-norm, without biases."""

    def __init__(self, width: int, heads: int, head_width: int, mlp_width: int, backend: Backend) -> None:
        super().__init__()
        self.feature_norm, self.latent_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.attention = CrossAttention(width, heads, head_width=head_width, bias=False, backend=backend)
        self.up, self.down = nn.Linear(width, mlp_width, bias=False), nn.Linear(mlp_width, width, bias=False)

    def forward(self, latents: Tensor, features: Tensor, mask: Tensor | None) -> Tensor:
        """[views, latents, width] and [views, cells, width] -> [views, latents, width]."""
        query = self.latent_norm(latents)
        seen = torch.cat([self.feature_norm(features), query], dim=1)
        latents = latents + self.attention(query, seen, seen, with_all(mask, latents.shape[1]))
        result: Tensor = latents + self.down(F.gelu(self.up(self.mlp_norm(latents))))
        return result


def flamingo_weights(tensors: dict[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Rename the weights of LLaVA-NeXT's perceiver to our names, splitting its joined keys and values.

    Raises:
        ValueError: if a name is unknown.
    """
    weights = FLAMINGO.read(tensors, source=source)
    for name in [name for name in weights if name.endswith(".key_value")]:
        joined = weights.pop(name)
        layer = name.removesuffix("key_value")
        weights[f"{layer}attention.key.weight"], weights[f"{layer}attention.value.weight"] = joined.chunk(2)
    return weights

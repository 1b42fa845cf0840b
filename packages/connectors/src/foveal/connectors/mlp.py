"""A multi-layer perceptron on every patch, as in LLaVA."""

from collections.abc import Sequence

from torch import Tensor, nn

from foveal.connectors.connector import Widths, one_width
from foveal.connectors.per_patch import PerPatch
from foveal.core import Grid, KeyMap

LLAVA = KeyMap(
    {
        f"{{}}{inner}.{kind}": f"layers.{{}}{inner}.{kind}"
        for inner in ("", ".pre_norm", ".proj.{}")
        for kind in ("weight", "bias")
    }
)
"""Names of LLaVA's `mlpNx_gelu` and LLaVA-NeXT's `mlpNx_resMx_gelu`, after the prefix `mm_projector.`."""

LLAVA_LINEAR = KeyMap({"weight": "layers.0.weight", "bias": "layers.0.bias"})
"""Names of LLaVA's `linear`, after the prefix `mm_projector.`."""

TRANSFORMERS = KeyMap(
    {
        f"linear_{number}.{kind}": f"layers.{index}.{kind}"
        for number, index in ((1, 0), (2, 2))
        for kind in ("weight", "bias")
    }
)
"""transformers' names for LLaVA, after the prefix `multi_modal_projector.`."""


def mlp(in_width: int, out_width: int, depth: int) -> nn.Sequential:
    """Build `depth` linear layers with the exact GELU between them; all but the first are square."""
    layers: list[nn.Module] = [nn.Linear(in_width, out_width)]
    for _ in range(depth - 1):
        layers += [nn.GELU(), nn.Linear(out_width, out_width)]
    return nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """Two linear layers after a norm, added to the norm's output (not to its input), as in LLaVA-NeXT."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pre_norm = nn.LayerNorm(width)
        self.proj = mlp(width, width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """[..., width] -> the same."""
        normed = self.pre_norm(tokens)
        result: Tensor = normed + self.proj(normed)
        return result


class MlpProjector(PerPatch):
    """One token per patch (LLaVA-1.5, arXiv 2310.03744, section 3.2: `linear`, `mlp2x_gelu`).

    Args:
        in_width: channels of the features.
        out_width: channels of the language model.
        depth: number of linear layers; 1 is LLaVA's `linear`, N its `mlpNx_gelu`.
        prefix_tokens: rows before the grid that become tokens too (LLaVA's `cls_patch` has one).
        residual_blocks: number of residual blocks that follow (M in LLaVA-NeXT's `mlpNx_resMx_gelu`).

    Raises:
        ValueError: if there is no layer.
    """

    def __init__(
        self,
        in_width: Widths,
        out_width: int,
        *,
        depth: int = 2,
        prefix_tokens: int = 0,
        residual_blocks: int = 0,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth, the number of linear layers, must be at least 1, not {depth}")
        self.in_width = in_width = one_width(in_width)
        self.out_width = out_width
        self.depth, self.prefix_tokens = depth, prefix_tokens
        self.residual_blocks = residual_blocks
        self.layers = mlp(in_width, out_width, depth)
        self.layers.extend(ResidualBlock(out_width) for _ in range(residual_blocks))

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, prefix_tokens + cells, in_width] -> [views, prefix_tokens + cells, out_width]."""
        features, _ = self.single(maps, grids, mask)
        tokens: Tensor = self.layers(features)
        return tokens

"""A norm between a fuser and a projector."""

from collections.abc import Sequence

from torch import Tensor, nn

from foveal.connectors.connector import Widths, one_width
from foveal.connectors.per_patch import PerPatch
from foveal.core import Grid


class Norm(PerPatch):
    """A LayerNorm on every patch: a stage of a `Chain` (ViP-LLaVA, arXiv 2312.00784, after the layers are joined).

    Args:
        in_width: channels of the features.
        eps: added to the variance.
    """

    def __init__(self, in_width: Widths, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.in_width = self.out_width = one_width(in_width)
        self.eps = eps
        self.norm = nn.LayerNorm(self.in_width, eps=eps)

    def forward(self, maps: Sequence[Tensor], grids: Sequence[Grid], mask: Tensor | None = None) -> Tensor:
        """[views, cells, in_width] -> the same."""
        features, _ = self.single(maps, grids, mask)
        normed: Tensor = self.norm(features)
        return normed

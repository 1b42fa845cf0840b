"""DeepSeek-VL's hybrid encoder: SAM for detail and SigLIP for meaning, on one view."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core import Grid, KeyMap, Size
from foveal.encoders.encoder import CLIP_MEAN, CLIP_STD, Colour, Encoder
from foveal.encoders.sam import Neck, SamViTDet
from foveal.encoders.sam_weights import sam_weights
from foveal.encoders.siglip import siglip_weights
from foveal.encoders.vit import VisionTransformer

UNCHANGED: tuple[Colour, Colour] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class SamSiglipHybrid(Encoder):
    """Two towers on one view, both maps on the second tower's grid (DeepSeek-VL, arXiv 2403.05525, section 3.1).

    The view has colours in 0..1; each tower's statistics are applied inside. The high tower's last map and that of its
    first global block each go through a neck, are resized to a multiple of the low grid and halved by the strided
    convolutions; the second is then added to the first with a learned factor that starts at 0.

    Args:
        high: SAM, with its strided convolutions.
        low: SigLIP; it sees a copy of the view at its native size.
        high_mean: subtracted from the colours for `high`; the released model uses CLIP's.
        high_std: the colours for `high` are then divided by it.

    Raises:
        ValueError: if `high` has no global block, or `low` returns several layers or a class token.
    """

    def __init__(
        self,
        high: SamViTDet,
        low: VisionTransformer,
        *,
        high_mean: Colour = CLIP_MEAN,
        high_std: Colour = CLIP_STD,
    ) -> None:
        super().__init__()
        if not high.global_blocks or len(low.widths) != 1 or low.prefix_tokens:
            raise ValueError(
                "the high tower needs a global block, the low one must return one layer without a class token"
            )
        self.high, self.low, self.high_mean, self.high_std = high, low, high_mean, high_std
        self.image_mean, self.image_std = UNCHANGED
        self.widths = (*high.widths, *low.widths)
        self.first_neck = Neck(high.width, high.neck_width)
        self.first_share = nn.Parameter(torch.zeros(1))

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        self.check_inputs(len(sizes))
        self.high.grid(sizes[0])
        return (self.low.native_grid, self.low.native_grid)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """[views, 3, height, width] -> [views, cells, high width], [views, cells, low width], on the low grid."""
        views = self.one_input(pixels)
        states = self.high.run(_normalised(views, self.high_mean, self.high_std))
        first = self.first_neck(states[min(self.high.global_blocks) + 1])
        high = self._halved(self.high.neck(states[-1])) + self.first_share * self._halved(first)
        side = self.low.image_size
        small = F.interpolate(views.float(), size=(side, side), mode="bilinear", align_corners=False, antialias=True)
        (low,) = self.low(_normalised(small.to(views), self.low.image_mean, self.low.image_std))
        return high.flatten(2).mT, low

    def _halved(self, plane: Tensor) -> Tensor:
        """[views, neck width, ...] -> [views, width, rows, columns] on the low grid."""
        factor = 2 ** len(self.high.downsample)
        size = tuple(side * factor for side in self.low.native_grid)
        plane = F.interpolate(plane.float(), size=size, mode="bilinear", align_corners=False).to(plane.dtype)
        for convolution in self.high.convolutions:
            plane = convolution(plane)
        return plane


def _normalised(views: Tensor, mean: Colour, std: Colour) -> Tensor:
    of_colours = views.new_tensor([mean, std])[:, :, None, None]
    return (views - of_colours[0]) / of_colours[1]


NECK = KeyMap(
    {
        "neck_hd.0.weight": "first_neck.reduce.weight",
        "neck_hd.2.weight": "first_neck.mix.weight",
        **{f"neck_hd.1.{kind}": f"first_neck.reduce_norm.{kind}" for kind in ("weight", "bias")},
        **{f"neck_hd.3.{kind}": f"first_neck.mix_norm.{kind}" for kind in ("weight", "bias")},
        "hd_alpha_downsamples": "first_share",
    }
)
"""The reference's names for what the hybrid adds to SAM."""


def deepseek_vl_weights(tensors: Mapping[str, Tensor], model: SamSiglipHybrid, *, source: str) -> dict[str, Tensor]:
    """Rename the weights of DeepSeek-VL's hybrid tower to our names, leaving out two norms that it never uses.

    Args:
        tensors: names start with `vision_tower_high.` and `vision_tower_low.`, without `vision_model.` before them.
        model: the model that the weights are for.
        source: named in errors.

    Raises:
        ValueError: if a name is unknown.
    """
    high: dict[str, Tensor] = {}
    low: dict[str, Tensor] = {}
    added: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix("vision_tower_high.vision_tower.")
        if bare.startswith(("neck_hd.", "hd_alpha_downsamples")):
            added[bare] = tensor
        elif bare != name:
            high[bare] = tensor
        elif name.startswith("vision_tower_low.vision_tower."):
            low[name.removeprefix("vision_tower_low.vision_tower.")] = tensor
        elif not name.startswith(("high_layer_norm.", "low_layer_norm.")):
            raise ValueError(f"{source}: {name} does not belong to any part of a hybrid tower")
    return {
        **{f"high.{name}": value for name, value in sam_weights(high, model.high, source=source).items()},
        **{f"low.{name}": value for name, value in siglip_weights(low, model.low, source=source).items()},
        **NECK.read(added, source=source),
    }

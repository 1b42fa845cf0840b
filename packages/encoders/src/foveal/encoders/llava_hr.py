"""LLaVA-HR's encoder: a vision transformer at low resolution mixed with a ConvNeXt at high resolution."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core import Grid, KeyMap, Size
from foveal.encoders.clip import clip_weights
from foveal.encoders.convnext import ConvNeXt, convnext_weights
from foveal.encoders.encoder import Encoder
from foveal.encoders.vit import VisionTransformer

GROUPS = 4


class MixtureOfResolution(Encoder):
    """Two encoders on one view, where high resolution feeds into low (LLaVA-HR, arXiv 2403.03003, section 3.2).

    The convolutional path sees the view itself, the transformer a copy with 14/32 of its side (at least `fast_size`),
    without a class token. After the first, second and third quarter of the transformer's blocks an adapter adds the
    convolutional map, and after the last quarter both maps are added as tokens. All blocks run, without a final norm.

    Args:
        fast: the transformer, returning its last layer; its positions are antialiased when they are resampled.
        slow: the ConvNeXt, returning its last stage.
        fast_size: smallest side in pixels of the transformer's copy; 336 in the released models.
        adapters: whether there are adapters between blocks; without them only the last sum remains (stage 1).

    Raises:
        ValueError: if the towers return other layers, the transformer's number of blocks is not a multiple of four, or
            it has no class token.
    """

    def __init__(self, fast: VisionTransformer, slow: ConvNeXt, *, fast_size: int = 336, adapters: bool = True) -> None:
        super().__init__()
        if fast.states != (fast.depth,) or slow.states != (len(slow.depths),):
            raise ValueError("both towers must return their last layer: set their layers to [-1]")
        if fast.depth % GROUPS or not fast.use_class_token:
            raise ValueError(
                f"the transformer's {fast.depth} blocks must be a multiple of {GROUPS}, and have a class token to drop"
            )
        # It is dropped before the first block, so it would never receive a gradient.
        if fast.class_token is not None:
            fast.class_token.requires_grad_(False)
        self.fast, self.slow, self.fast_size, self.adapters = fast, slow, fast_size, adapters
        (width,), (slow_width,) = fast.widths, slow.widths
        self.widths = (width,)
        self.image_mean, self.image_std = fast.image_mean, fast.image_std
        self.mixers = nn.ModuleList(SlowToFast(width, slow_width) for _ in range(GROUPS - 1) if adapters)
        self.align_fast = nn.Linear(width, width)
        self.align_slow = nn.Linear(slow_width, width)

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        self.check_inputs(len(sizes))
        self.slow.grids(*sizes)
        low = self.fast.grid(self._low(sizes[0]))
        self._check_nested(low, self.slow.grids(*sizes)[0])
        return (low,)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """[views, 3, height, width] -> one [views, rows*columns, width], on the transformer's grid."""
        views = self.one_input(pixels)
        (grid,) = self.grids(Size.of_view(views))
        (slow,) = self.slow.planes(views)
        width, height = self._low(Size.of_view(views))
        hidden = self._embedded(F.interpolate(views, size=(height, width), mode="bilinear", align_corners=True))
        per_group = self.fast.depth // GROUPS
        for number in range(self.fast.depth):
            hidden = self.fast.run_block(number, hidden)
            if self.adapters and (number + 1) % per_group == 0 and number + 1 < self.fast.depth:
                hidden = self.mixers[(number + 1) // per_group - 1](hidden, slow, grid)
        aligned = self.align_slow(resized_to(slow, grid).flatten(2).mT)
        return (self.align_fast(hidden) + aligned,)

    def _low(self, size: Size) -> Size:
        """The size of the copy that the transformer sees."""
        sides = (max(int(side / self.slow.patch_size * self.fast.patch_size), self.fast_size) for side in size)
        return Size(*sides)

    def _embedded(self, low: Tensor) -> Tensor:
        """The input of the first block; the class token is dropped before the norm."""
        fast = self.fast
        grid = fast.grid(Size.of_view(low))
        tokens = fast.patches(low).flatten(2).mT + fast.positions_of(grid)[1:]
        embedded: Tensor = tokens if fast.pre_norm is None else fast.pre_norm(tokens)
        return embedded

    @staticmethod
    def _check_nested(low: Grid, slow: Grid) -> None:
        for ours, other in zip(low, slow, strict=True):
            if max(ours, other) % min(ours, other):
                raise ValueError(f"the two grids {low} and {slow} must divide one another: choose another view size")


class SlowToFast(nn.Module):
    """Adds the convolutional map to the transformer's, through a gate that sees both (LLaVA-HR, equations 3 and 4)."""

    def __init__(self, width: int, slow_width: int) -> None:
        super().__init__()
        self.slow_conv = nn.Conv2d(slow_width, slow_width, 1)
        self.slow_proj = nn.Conv2d(slow_width, width, 1)
        self.fast_conv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.fast_proj = nn.Conv2d(width, width, 1)
        self.gate = nn.Sequential(nn.Linear(2 * width, width // 2), nn.GELU(), nn.Linear(width // 2, 1))
        for convolution in (self.slow_conv, self.fast_conv):
            nn.init.xavier_uniform_(convolution.weight)
        for convolution in (self.slow_proj, self.fast_proj):  # initially nothing is added
            nn.init.zeros_(convolution.weight)
        for convolution in (self.slow_conv, self.slow_proj, self.fast_conv, self.fast_proj):
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)

    def forward(self, hidden: Tensor, slow: Tensor, grid: Grid) -> Tensor:
        """[views, cells, width] and [views, slow_width, slow rows, slow columns] -> [views, cells, width]."""
        projected = resized_to(self.slow_proj(F.gelu(self.slow_conv(slow))), grid).flatten(2).mT
        plane = hidden.mT.unflatten(2, grid)
        mixed = (plane + self.fast_proj(F.gelu(self.fast_conv(plane)))).flatten(2).mT
        gate = torch.tanh(self.gate(torch.cat([mixed, projected], dim=-1).mean(dim=1, keepdim=True)))
        result: Tensor = mixed + gate * projected
        return result


def resized_to(plane: Tensor, grid: Grid) -> Tensor:
    """Resize [views, width, rows, columns] to another grid: average to a coarser, interpolate bilinearly to a finer."""
    rows, columns = plane.shape[-2:]
    if rows * columns < grid[0] * grid[1]:
        finer = F.interpolate(plane.float(), size=grid, mode="bilinear", align_corners=True)
        return finer.to(plane.dtype)
    if rows * columns > grid[0] * grid[1]:
        return F.avg_pool2d(plane, (rows // grid[0], columns // grid[1]))
    return plane


ADAPTERS = KeyMap(
    {
        **{
            f"align_stages_latent.{{}}.{name}.{kind}": f"mixers.{{}}.{name}.{kind}"
            for name in ("slow_conv", "slow_proj", "fast_conv", "fast_proj", "gate.0", "gate.2")
            for kind in ("weight", "bias")
        },
        **{
            f"align_stages.0.{path}_proj.{kind}": f"align_{path}.{kind}"
            for path in ("fast", "slow")
            for kind in ("weight", "bias")
        },
    }
)
"""The reference's names for the parts outside its two towers."""


def llava_hr_weights(tensors: Mapping[str, Tensor], model: MixtureOfResolution, *, source: str) -> dict[str, Tensor]:
    """Rename the weights of LLaVA-HR's vision tower to our names.

    Args:
        tensors: `fast_vision_tower.`, `slow_vision_tower.`, `align_stages.` and `align_stages_latent.`, without prefix.
        model: the model that the weights are for; if it has no adapters, their weights are left out.
        source: named in errors.

    Raises:
        ValueError: if a name is unknown.
    """
    parts: dict[str, dict[str, Tensor]] = {"fast": {}, "slow": {}, "": {}}
    for name, tensor in tensors.items():
        part = name.split("_")[0] if name.startswith(("fast_vision_tower.", "slow_vision_tower.")) else ""
        bare = name.removeprefix(f"{part}_vision_tower.vision_tower.") if part else name
        parts[part][bare] = tensor
    beside = ADAPTERS.read(parts[""], source=source)
    return {
        **{f"fast.{name}": value for name, value in clip_weights(parts["fast"], model.fast, source=source).items()},
        **{f"slow.{name}": value for name, value in convnext_weights(parts["slow"], model.slow, source=source).items()},
        **{name: value for name, value in beside.items() if model.adapters or not name.startswith("mixers.")},
    }

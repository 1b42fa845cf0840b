"""LLaVA-UHD v2's inverse semantic pyramid: the map of a tower, and the same map with details of the picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from foveal.core import Grid, KeyMap, Size, load_exact, read_tensors
from foveal.encoders.bilateral import JointBilateralUpsampler
from foveal.encoders.encoder import Encoder, by_shape
from foveal.encoders.hub import only_shapes

SCALES = (1, 2, 4)
KINDS = ("weight", "bias")


class InverseSemanticPyramid(Encoder):
    """A tower's map at several resolutions (LLaVA-UHD v2, arXiv 2412.13871, section 3.2: VDIM).

    Each step doubles the rows and columns, guided by the view's own colours; the last one is followed by a 1 x 1
    convolution, of which a tenth is added. The published pyramid is trained alone, before the language model is there,
    so that its maps, made small again, are the tower's.

    Args:
        tower: sees one view and returns one map, without a class token.
        scales: which maps are returned, of 1, 2 and 4 times the rows and columns; the released models have (1, 4).

    Raises:
        ValueError: if the tower returns several maps or a class token or takes several views, or `scales` does not name
            an enlarged map or is not in ascending order.
    """

    def __init__(self, tower: Encoder, *, scales: Sequence[int] = (1, 4)) -> None:
        super().__init__()
        if len(tower.widths) != 1 or tower.prefix_tokens or tower.inputs != 1:
            raise ValueError("the tower of a pyramid must see one view and return one layer, without a class token")
        if not set(scales) <= set(SCALES) or list(scales) != sorted(set(scales)) or not scales or scales[-1] == 1:
            raise ValueError(f"scales {tuple(scales)} must be some of {SCALES} in ascending order, and one above 1")
        self.tower, self.scales = tower, tuple(scales)
        (width,) = tower.widths
        self.widths = (width,) * len(self.scales)
        self.image_mean, self.image_std = tower.image_mean, tower.image_std
        self.steps = nn.ModuleList(JointBilateralUpsampler() for _ in range(self.scales[-1].bit_length() - 1))
        self.mix = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(width, width, 1))

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        ((rows, columns),) = self.tower.grids(*sizes)
        return tuple(Grid(scale * rows, scale * columns) for scale in self.scales)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """[views, 3, height, width] -> [views, scale*rows * scale*columns, width] for each scale."""
        return self.enlarged(self.tower(*pixels)[0], pixels[0])

    def encode_views(self, views: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """Like `Encoder.encode_views`; the tower may pack views, which are then enlarged by shape."""
        low = self.tower.encode_views(views)
        return by_shape([(features, view) for (features,), view in zip(low, views, strict=True)], self.enlarged)

    def enlarged(self, features: Tensor, pixels: Tensor) -> tuple[Tensor, ...]:
        """The maps of all `scales` from the tower's own, [views, rows*columns, width], and the views' pixels."""
        (grid,) = self.tower.grids(Size.of_view(pixels))
        plane, levels = features.mT.unflatten(2, grid), {1: features}
        for number, step in enumerate(self.steps, 1):
            plane = step(plane, pixels)
            if number == len(self.steps):
                plane = plane + 0.1 * self.mix(plane)
            levels[2**number] = plane.flatten(2).mT
        return tuple(levels[scale] for scale in self.scales)


VDIM = KeyMap(
    {
        **{
            f"up{number + 1}.{theirs}": f"steps.{number}.{ours}"
            for number in range(2)
            for theirs, ours in {
                "range_temp": "temperature",
                "sigma_spatial": "sigma",
                **{
                    f"{part}_proj.{layer}.{kind}": f"{name}.{layer}.{kind}"
                    for part, name in {"range": "colours", "fixup": "correction"}.items()
                    for layer in (0, 3)
                    for kind in KINDS
                },
            }.items()
        },
        **{f"fixup_proj.1.{kind}": f"mix.1.{kind}" for kind in KINDS},
    }
)
"""The reference's names, without their prefix."""

PREFIXES = ("model.mm_projector.upsampler.upsampler.", "mm_projector.upsampler.upsampler.", "upsampler.", "")


def semantic_pyramid(tower: Encoder, path: str | Path, *, scales: Sequence[int] = (1, 4)) -> InverseSemanticPyramid:
    """Build a pyramid on a tower, with the published weights of its steps.

    Under `torch.device("meta")` nothing is read.

    Args:
        tower: see `InverseSemanticPyramid`; it keeps its own weights.
        path: safetensors file or folder: of a whole LLaVA-UHD v2, of its projector, or of the steps alone.
        scales: see `InverseSemanticPyramid`.

    Raises:
        ValueError: if a tensor of the steps is missing, left over or of another shape.
    """
    model = InverseSemanticPyramid(tower, scales=scales)
    if not only_shapes():
        own = {f"tower.{name}": value for name, value in tower.state_dict().items()}
        load_exact(model, own | vdim_weights(read_tensors(path), source=str(path)), source=str(path))
    return model


def vdim_weights(tensors: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Rename the published weights of a pyramid's steps to our names; tensors of other parts are left out.

    Args:
        tensors: under the names of LLaVA-UHD v2's checkpoints, of its projector, or of FeatUp's upsampler.
        source: named in errors.

    Raises:
        ValueError: if there are no such weights among the names, or a name below their prefix is unknown.
    """
    for prefix in PREFIXES:
        if f"{prefix}up1.range_temp" in tensors:
            own = {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}
            return VDIM.read(own, source=source)
    raise ValueError(
        f"{source}: no weights of VDIM (up1.range_temp, ...) among {len(tensors)} tensors such as {sorted(tensors)[:3]}"
    )

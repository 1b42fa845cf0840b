"""ConvNeXt: a convolutional encoder whose stages return maps of several sizes."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foveal.core import Grid, KeyMap, Size, load_exact, read_tensors
from foveal.encoders.block import run_block
from foveal.encoders.encoder import CLIP_MEAN, CLIP_STD, Colour, Encoder, cells, hidden_states
from foveal.encoders.hub import folder_of, only_shapes, tower_weights, vision_config

KINDS = ("weight", "bias")


class ConvNeXt(Encoder):
    """A ConvNeXt without its classifier (arXiv 2201.03545, section 2); with five stages, ConvLLaVA's (arXiv 2405.15738,
    section 3.3).

    It is purely local, without attention or positions, so any size divisible by the stride is native.

    Args:
        widths_of_stages: channels of each stage.
        depths: blocks of each stage.
        layers: maps to return: 0 is the stem's, i stage i's, -1 the last. Cells are 4, 4, 8, 16, 32 (64) pixels wide.
        norm_eps: epsilon of the layer norms; 1e-5 in the XXL model, 1e-6 in the others.
        checkpointing: recompute blocks in the backward pass instead of keeping their activations.
        image_mean: see `Encoder`; CLIP's, since the published encoders were trained as CLIP.
        image_std: see `Encoder`.

    Raises:
        ValueError: if there are not as many widths as depths, or a layer does not exist.
    """

    def __init__(
        self,
        widths_of_stages: tuple[int, ...],
        depths: tuple[int, ...],
        *,
        layers: tuple[int, ...] = (-1,),
        norm_eps: float = 1e-6,
        checkpointing: bool = False,
        image_mean: Colour = CLIP_MEAN,
        image_std: Colour = CLIP_STD,
    ) -> None:
        super().__init__()
        if not depths or len(widths_of_stages) != len(depths):
            raise ValueError(f"{len(widths_of_stages)} widths_of_stages for {len(depths)} depths: each stage needs one")
        self.states = hidden_states(layers, len(depths))
        self.widths_of_stages, self.depths, self.layers = tuple(widths_of_stages), tuple(depths), tuple(layers)
        self.norm_eps, self.checkpointing = norm_eps, checkpointing
        self.image_mean, self.image_std = image_mean, image_std
        of_states = (self.widths_of_stages[0], *self.widths_of_stages)
        self.widths = tuple(of_states[state] for state in self.states)
        self.patch_size = 4 * 2 ** max(0, max(self.states) - 1)

        self.stem = nn.Conv2d(3, of_states[0], 4, stride=4)
        self.stem_norm = nn.LayerNorm(of_states[0], eps=norm_eps)
        self.stages = nn.ModuleList(
            Stage(of_states[number], of_states[number + 1], depths[number], norm_eps, halves=number > 0)
            for number in range(max(self.states))
        )

    def grids(self, *sizes: Size) -> tuple[Grid, ...]:
        self.check_inputs(len(sizes))
        cells(sizes[0], self.patch_size)
        return tuple(cells(sizes[0], 4 * 2 ** max(0, state - 1)) for state in self.states)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        """[views, 3, height, width] -> one [views, rows*columns, width of its stage] per requested layer."""
        planes = self.planes(self.one_input(pixels))
        return tuple(plane.flatten(2).mT for plane in planes)

    def planes(self, pixels: Tensor) -> list[Tensor]:
        """[views, 3, height, width] -> the requested maps, [views, width, rows, columns] each."""
        self.grids(Size.of_view(pixels))
        plane = channels_last(self.stem_norm, self.stem(pixels))
        kept = {0: plane}
        for number, stage in enumerate(self.stages, start=1):
            plane = stage(plane, checkpointing=self.checkpointing and self.training)
            kept[number] = plane
        return [kept[state] for state in self.states]


class Stage(nn.Module):
    """Blocks of one size; all stages but the first halve the map first."""

    def __init__(self, before: int, width: int, depth: int, norm_eps: float, *, halves: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(before, eps=norm_eps) if halves else None
        self.reduce = nn.Conv2d(before, width, 2, stride=2) if halves else None
        self.blocks = nn.ModuleList(ConvBlock(width, norm_eps) for _ in range(depth))

    def forward(self, plane: Tensor, *, checkpointing: bool = False) -> Tensor:
        """[views, before, rows, columns] -> [views, width, rows, columns], or half the rows and columns."""
        if self.norm is not None and self.reduce is not None:
            plane = self.reduce(channels_last(self.norm, plane))
        for block in self.blocks:
            plane = run_block(block, plane, recomputed=checkpointing)
        return plane


class ConvBlock(nn.Module):
    """A depthwise 7x7 convolution, a norm and a feed-forward layer, scaled per channel, with a residual path."""

    def __init__(self, width: int, norm_eps: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, plane: Tensor) -> Tensor:
        """[views, width, rows, columns] -> [views, width, rows, columns]."""
        inner = self.norm(self.depthwise(plane).movedim(1, -1))
        inner = self.scale * self.down(F.gelu(self.up(inner)))
        result: Tensor = plane + inner.movedim(-1, 1)
        return result


def channels_last(layer: nn.Module, plane: Tensor) -> Tensor:
    """Apply a layer over the channels of [views, width, rows, columns]."""
    result: Tensor = layer(plane.movedim(1, -1)).movedim(-1, 1)
    return result


def _names(
    stem: tuple[str, str], stage: tuple[str, str], place: str, block: Mapping[str, str], scale: tuple[str, ...]
) -> dict[str | tuple[str, ...], str | None]:
    rows: dict[str | tuple[str, ...], str | None] = {}
    for kind in KINDS:
        rows |= {f"{stem[0]}.{kind}": f"stem.{kind}", f"{stem[1]}.{kind}": f"stem_norm.{kind}"}
        rows |= {f"{stage[0]}.{kind}": f"stages.{{}}.norm.{kind}", f"{stage[1]}.{kind}": f"stages.{{}}.reduce.{kind}"}
        rows |= {f"{place}.{name}.{kind}": f"stages.{{}}.blocks.{{}}.{ours}.{kind}" for name, ours in block.items()}
    return rows | {f"{place}.{name}": "stages.{}.blocks.{}.scale" for name in scale}


TIMM = KeyMap(
    {
        **_names(
            ("stem.0", "stem.1"),
            ("stages.{}.downsample.0", "stages.{}.downsample.1"),
            "stages.{}.blocks.{}",
            {"conv_dw": "depthwise", "norm": "norm", "mlp.fc1": "up", "mlp.fc2": "down"},
            ("gamma", "weight"),
        ),
        **dict.fromkeys(
            f"{name}.{kind}" for name in ("head.norm", "norm_pre", "head.fc", "head.pre_logits.fc") for kind in KINDS
        ),
    }
)
"""timm's and open_clip's names (`visual.trunk.`); LLaVA-HR calls the scale of a block `weight`."""

TRANSFORMERS = KeyMap(
    {
        **_names(
            ("embeddings.patch_embeddings", "embeddings.layernorm"),
            ("encoder.stages.{}.downsampling_layer.0", "encoder.stages.{}.downsampling_layer.1"),
            "encoder.stages.{}.layers.{}",
            {"dwconv": "depthwise", "layernorm": "norm", "pwconv1": "up", "pwconv2": "down"},
            ("layer_scale_parameter",),
        ),
        **dict.fromkeys(f"layernorm.{kind}" for kind in KINDS),
    }
)
"""transformers' names; the norm after the pooling is left out."""

FACEBOOK = KeyMap(
    {
        **_names(
            ("downsample_layers.0.0", "downsample_layers.0.1"),
            ("downsample_layers.{}.0", "downsample_layers.{}.1"),
            "stages.{}.{}",
            {"dwconv": "depthwise", "norm": "norm", "pwconv1": "up", "pwconv2": "down"},
            ("gamma",),
        ),
        **dict.fromkeys(f"{name}.{kind}" for name in ("norm", "head") for kind in KINDS),
    }
)
"""The names in the authors' repository."""

PREFIXES = (
    "visual.trunk.",
    "model.vision_tower.vision_tower.",
    "model.vision_tower.",
    "vision_tower.",
    "convnext.",
    "",
)
OTHER_PARTS = ("text.", "visual.head.", "classifier.", "logit_scale", "transformer.", "token_embedding.", "ln_final.")


def convnext_weights(tensors: Mapping[str, Tensor], model: ConvNeXt, *, source: str) -> dict[str, Tensor]:
    """Rename a ConvNeXt's published weights to our names, leaving out stages that `model` does not build.

    Args:
        tensors: under timm's (open_clip's), transformers' or the authors' names, with or without prefix.
        model: the model that the weights are for.
        source: named in errors.

    Raises:
        ValueError: if there is no such tower among the names, or a name is unknown.
    """
    tables = {
        "stem.0.weight": TIMM,
        "embeddings.patch_embeddings.weight": TRANSFORMERS,
        "downsample_layers.0.0.weight": FACEBOOK,
    }
    weights = tower_weights(
        model, tensors, tables, kind="ConvNeXt", prefixes=PREFIXES, ignored=OTHER_PARTS, source=source
    )
    unbuilt = tuple(f"stages.{number}." for number in range(len(model.stages), len(model.depths)))
    return {name: value for name, value in weights.items() if not name.startswith(unbuilt)}


def convnext_large(*, layers: tuple[int, ...] = (-1,), fifth_stage: bool = False) -> ConvNeXt:
    """Build ConvNeXt-L with new weights; `fifth_stage` adds ConvLLaVA's 6 blocks of width 3072 at a stride of 64."""
    widths, depths = (192, 384, 768, 1536), (3, 3, 27, 3)
    return ConvNeXt(widths + (3072,) * fifth_stage, depths + (6,) * fifth_stage, layers=layers)


def convnext_xxlarge(*, layers: tuple[int, ...] = (-1,)) -> ConvNeXt:
    """Build ConvNeXt-XXL with new weights."""
    return ConvNeXt((384, 768, 1536, 3072), (3, 4, 30, 3), layers=layers, norm_eps=1e-5)


def convnext(name_or_folder: str, *, layers: tuple[int, ...] = (-1,), checkpointing: bool = False) -> ConvNeXt:
    """Build a published ConvNeXt with its weights.

    Under `torch.device("meta")` only the sizes are read, and the tower has no weights.

    Args:
        name_or_folder: local folder in transformers' layout, or a hub name such as
            `ConvLLaVA/LAION-CLIP-ConvNeXt-Large-512`, which needs huggingface_hub (`foveal-encoders[hub]`).
        layers: see `ConvNeXt`.
        checkpointing: see `ConvNeXt`.

    Raises:
        ValueError: see `clip_vit`.
        ImportError: see `clip_vit`.
    """
    folder = folder_of(name_or_folder)
    defaults = {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]}
    sizes = vision_config(folder, {"convnext": "ConvNeXt"}, defaults)
    model = ConvNeXt(tuple(sizes["hidden_sizes"]), tuple(sizes["depths"]), layers=layers, checkpointing=checkpointing)
    if not only_shapes():
        load_exact(model, convnext_weights(read_tensors(folder), model, source=str(folder)), source=str(folder))
    return model

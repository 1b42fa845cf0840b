"""Image towers inside published checkpoints: sizes that no file states, and tensors that are not read."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from foveal.encoders import SamViTDet, VisionTransformer
from foveal.encoders.encoder import Colour

Shapes = Mapping[str, tuple[int, ...]]
HEAD_WIDTH = 64
"""Channels of an attention head in every CLIP of OpenAI's."""


def openai_clip(
    shapes: Shapes, *, layers: tuple[int, ...], keep_class_token: bool = False, source: str
) -> VisionTransformer:
    """The tower of one of OpenAI's CLIPs, given the shapes of its tensors under transformers' names.

    Raises:
        ValueError: if a tensor that determines a size is missing.
    """
    width, _, patch, _ = shape_of(shapes, "embeddings.patch_embedding.weight", source)
    tokens, _ = shape_of(shapes, "embeddings.position_embedding.weight", source)
    mlp_width, _ = shape_of(shapes, "encoder.layers.0.mlp.fc1.weight", source)
    if width % HEAD_WIDTH:
        raise ValueError(
            f"{source}: a CLIP of width {width} is not one of OpenAI's, whose heads are {HEAD_WIDTH} wide: "
            "give the folder of the tower as `encoder`, whose config.json states its sizes"
        )
    return VisionTransformer(
        width,
        depth_of(shapes, r"encoder\.layers\.(\d+)\..*"),
        width // HEAD_WIDTH,
        mlp_width,
        patch,
        patch * round((tokens - 1) ** 0.5),
        layers=layers,
        keep_class_token=keep_class_token,
    )


def sam_tower(shapes: Shapes, *, image_mean: Colour, image_std: Colour, source: str) -> SamViTDet:
    """SAM's tower with strided convolutions, given the shapes of its tensors under Vary's names.

    Blocks whose table of relative positions spans the whole map are global; the tables of the others give the window.

    Args:
        shapes: shapes of the tower's tensors.
        image_mean: see `Encoder`; no file states it.
        image_std: see `Encoder`.
        source: named in errors.

    Raises:
        ValueError: if a tensor that determines a size is missing.
    """
    width, _, patch, _ = shape_of(shapes, "patch_embed.proj.weight", source)
    _, side, _, _ = shape_of(shapes, "pos_embed", source)
    depth = depth_of(shapes, r"blocks\.(\d+)\..*")
    tables = [shape_of(shapes, f"blocks.{number}.attn.rel_pos_h", source) for number in range(depth)]
    windows = {(rows + 1) // 2 for rows, _ in tables} - {side}
    if len(windows) > 1:
        raise ValueError(f"{source}: blocks with windows of {sorted(windows)} cells, only one size is known")
    return SamViTDet(
        width,
        depth,
        width // tables[0][1],
        patch,
        patch * side,
        window=min(windows, default=side),
        global_blocks=tuple(number for number, (rows, _) in enumerate(tables) if rows == 2 * side - 1),
        neck_width=shape_of(shapes, "neck.0.weight", source)[0],
        downsample=tuple(shape_of(shapes, f"net_{number}.weight", source)[0] for number in (2, 3)),
        mlp_ratio=shape_of(shapes, "blocks.0.mlp.lin1.weight", source)[0] / width,
        image_mean=image_mean,
        image_std=image_std,
    )


def described_sam(vision: Any, *, downsample: tuple[int, ...], source: str) -> SamViTDet:
    """SAM's tower as transformers' `vision_config` of GOT-OCR 2.0 describes it, or `sam_config` of DeepSeek-OCR 2.

    Args:
        vision: transformers' configuration.
        downsample: channels of the strided convolutions.
        source: named in errors.

    Raises:
        ValueError: for a setting that would give other numbers.
    """
    known = {
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "num_channels": 3,
        "qkv_bias": True,
        "use_abs_pos": True,
        "use_rel_pos": True,
    }
    for field, expected in known.items():
        if getattr(vision, field) != expected:
            raise ValueError(
                f"{source}: {field} of the image tower is {getattr(vision, field)!r}, only {expected!r} can be read"
            )
    for field in ("image_size", "patch_size"):
        if not isinstance(getattr(vision, field), int):
            raise ValueError(
                f"{source}: {field} of the image tower is {getattr(vision, field)!r}, expected is a number"
            )
    return SamViTDet(
        vision.hidden_size,
        vision.num_hidden_layers,
        vision.num_attention_heads,
        vision.patch_size,
        vision.image_size,
        window=vision.window_size,
        global_blocks=tuple(vision.global_attn_indexes),
        neck_width=vision.output_channels,
        downsample=downsample,
        mlp_ratio=vision.mlp_dim / vision.hidden_size,
    )


def unread_of_clip(names: Iterable[str], tower: VisionTransformer) -> dict[str, str]:
    """name -> reason, for the tensors (under transformers' names) that `tower` does not need."""
    reasons = {}
    for name in names:
        block = re.match(r"encoder\.layers\.(\d+)\.", name)
        if name == "embeddings.position_ids":
            reasons[name] = "the position ids, not a weight"
        elif name.startswith("post_layernorm."):
            reasons[name] = "a norm after the layer that is used"
        elif block and len(tower.blocks) <= int(block[1]) < tower.depth:
            reasons[name] = "a block after the layer that is used"
    return reasons


def fill_of(mean: Colour) -> tuple[int, int, int]:
    """The colour around pictures that LLaVA's code pads, in 0..255: the mean of the tower's pictures, rounded down."""
    red, green, blue = (int(255 * part) for part in mean)
    return red, green, blue


def shape_of(shapes: Shapes, name: str, source: str) -> tuple[int, ...]:
    """The shape of a tower's tensor.

    Raises:
        ValueError: if it is missing.
    """
    if name not in shapes:
        raise ValueError(f"{source}: the image tower has no {name}, which determines its sizes")
    return shapes[name]


def depth_of(shapes: Shapes, pattern: str) -> int:
    """The number of blocks, whose names match `pattern` with the number as its group."""
    return 1 + max((int(match[1]) for name in shapes if (match := re.fullmatch(pattern, name))), default=-1)

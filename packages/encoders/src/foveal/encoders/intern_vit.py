"""InternViT, InternVL's image tower: published sizes and files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveal.core import Backend, load_exact, read_tensors
from foveal.encoders.block import Norm
from foveal.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD
from foveal.encoders.hub import folder_of, only_shapes, vision_config
from foveal.encoders.intern_vit_weights import intern_vit_weights
from foveal.encoders.vit import VisionTransformer

ORIGINAL, LIBRARY = "intern_vit_6b", "internvl_vision"
"""`model_type` in the authors' repository, whatever the size, and in transformers."""

DEFAULTS: dict[str, dict[str, Any]] = {
    ORIGINAL: {
        "model_type": ORIGINAL,
        "hidden_size": 3200,
        "intermediate_size": 12800,
        "num_hidden_layers": 48,
        "num_attention_heads": 25,
        "image_size": 224,
        "patch_size": 14,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "norm_type": "rms_norm",
        "qkv_bias": False,
        "qk_normalization": True,
    },
    LIBRARY: {
        "model_type": LIBRARY,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 448,
        "patch_size": 14,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "norm_type": "layer_norm",
        "attention_bias": False,
        "use_qk_norm": False,
        "use_mean_pooling": True,
    },
}
"""What the two take for settings that a file does not have."""
NORMS: dict[str, Norm] = {"layer_norm": "layer", "rms_norm": "rms"}


def intern_vit_tower(
    width: int,
    depth: int,
    heads: int,
    mlp_width: int,
    patch_size: int,
    image_size: int,
    *,
    layers: tuple[int, ...] = (-1,),
    norm: Norm = "layer",
    qkv_bias: bool = True,
    norm_queries: bool = False,
    use_final_norm: bool = False,
    norm_eps: float = 1e-6,
    checkpointing: bool = False,
    backend: Backend = "auto",
) -> VisionTransformer:
    """Build a `VisionTransformer` as in InternVL (arXiv 2312.14238): a class token, layer scale, no first norm.

    The small tower (300M) is a plain ViT; the large one (6B) has RMS norms, no bias in qkv, and normalised queries and
    keys. States are returned without a norm, as released.
    """
    return VisionTransformer(
        width,
        depth,
        heads,
        mlp_width,
        patch_size,
        image_size,
        layers=layers,
        activation="gelu",
        norm_eps=norm_eps,
        patch_bias=True,
        use_pre_norm=False,
        use_final_norm=use_final_norm,
        layer_scale=True,
        norm=norm,
        qkv_bias=qkv_bias,
        norm_queries=norm_queries,
        checkpointing=checkpointing,
        backend=backend,
        image_mean=IMAGENET_MEAN,
        image_std=IMAGENET_STD,
    )


def intern_vit_300m_448(*, layers: tuple[int, ...] = (-1,)) -> VisionTransformer:
    """Build the 300M at 448 pixels with new weights: width 1024, 24 blocks, 32 x 32 patches."""
    return intern_vit_tower(1024, 24, 16, 4096, 14, 448, layers=layers)


def intern_vit_6b_448(*, layers: tuple[int, ...] = (-1,)) -> VisionTransformer:
    """Build the 6B of version 2.5 at 448 pixels with new weights: width 3200, 45 blocks, 32 x 32 patches."""
    return intern_vit_tower(3200, 45, 25, 12800, 14, 448, layers=layers, norm="rms", qkv_bias=False, norm_queries=True)


def intern_vit(
    name_or_folder: str,
    *,
    layers: tuple[int, ...] = (-1,),
    checkpointing: bool = False,
    backend: Backend = "auto",
) -> VisionTransformer:
    """Build a published InternViT with its weights.

    Under `torch.device("meta")` only the sizes are read, and the tower has no weights.

    Args:
        name_or_folder: local folder of a tower or of a whole InternVL, in the authors' or transformers' layout, or a
            hub name such as `OpenGVLab/InternViT-300M-448px-V2_5`, which needs the package huggingface_hub
            (`foveal-encoders[hub]`).
        layers: see `VisionTransformer`.
        checkpointing: see `VisionTransformer`.
        backend: see `VisionTransformer`.

    Raises:
        ValueError: see `clip_vit`; also if the configuration has a setting that cannot be honoured.
        ImportError: see `clip_vit`.
    """
    folder = folder_of(name_or_folder)
    given = vision_config(folder, {LIBRARY: "InternViT", ORIGINAL: "InternViT"}, {"model_type": LIBRARY})
    sizes = DEFAULTS[given["model_type"]] | given
    if sizes["model_type"] == ORIGINAL:
        sizes |= {"attention_bias": sizes["qkv_bias"], "use_qk_norm": sizes["qk_normalization"]}
    _check(sizes, folder)
    model = intern_vit_tower(
        sizes["hidden_size"],
        sizes["num_hidden_layers"],
        sizes["num_attention_heads"],
        sizes["intermediate_size"],
        _side(sizes, "patch_size", folder),
        _side(sizes, "image_size", folder),
        layers=layers,
        norm=NORMS[sizes["norm_type"]],
        qkv_bias=sizes["attention_bias"],
        norm_queries=sizes["use_qk_norm"],
        use_final_norm=not sizes.get("use_mean_pooling", True),
        norm_eps=sizes["layer_norm_eps"],
        checkpointing=checkpointing,
        backend=backend,
    )
    if not only_shapes():
        load_exact(model, intern_vit_weights(read_tensors(folder), model, source=str(folder)), source=str(folder))
    return model


def _check(sizes: Mapping[str, Any], folder: Path) -> None:
    """Refuse settings that would change the numbers."""
    known = {"hidden_act": ("gelu",), "norm_type": tuple(NORMS), "use_absolute_position_embeddings": (True,)}
    if sizes["model_type"] == LIBRARY and sizes["use_qk_norm"]:
        # transformers' norms of queries and keys have a fixed epsilon.
        known["layer_norm_eps"] = (1e-6,)
    for setting, values in known.items():
        if sizes.get(setting, values[0]) not in values:
            raise ValueError(
                f"{folder}: {setting} of the image tower is {sizes[setting]!r}, known: {', '.join(map(str, values))}"
            )


def _side(sizes: Mapping[str, Any], setting: str, folder: Path) -> int:
    """The pixels along one side; transformers writes [height, width]."""
    value = sizes[setting]
    sides = value if isinstance(value, list) else [value]
    if len(set(sides)) != 1 or not isinstance(sides[0], int):
        raise ValueError(f"{folder}: {setting} of the image tower is {value!r}, only squares are known")
    return sides[0]

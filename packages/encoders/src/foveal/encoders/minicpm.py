"""MiniCPM-V 4.6's image tower: published settings, weight names and files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from foveal.core import Backend, KeyMap, StoredTensors, load_exact
from foveal.encoders.block import Activation
from foveal.encoders.early_compression import EarlyCompressionViT
from foveal.encoders.hub import CONFIG, folder_of, only_shapes, vision_config
from foveal.encoders.siglip import KINDS
from foveal.encoders.siglip import TRANSFORMERS as SIGLIP

TRANSFORMERS = KeyMap(
    {
        **dict(SIGLIP.rows),
        **{
            f"vit_merger.{published}.{kind}": f"compression.{ours}.{kind}"
            for published, ours in {
                "layer_norm1": "attention_norm",
                "self_attn.out_proj": "out",
                "pre_norm": "mlp_norm",
                "linear_1": "up",
                "linear_2": "down",
            }.items()
            for kind in KINDS
        },
        **{
            tuple(f"vit_merger.self_attn.{part}_proj.{kind}" for part in "qkv"): f"compression.qkv.{kind}"
            for kind in KINDS
        },
    }
)
"""transformers' names, after the prefix."""
PREFIX = "model.vision_tower."
DEFAULTS = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
KNOWN: dict[str, Any] = {"window_kernel_size": [2, 2], "num_channels": 3, "attention_dropout": 0.0}
"""The only known values of settings of the tower."""
ACTIVATIONS: dict[str, Activation] = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
COMPRESSED, UNCOMPRESSED = "16x", "4x"
"""Values of `downsample_mode`: by how much fewer tokens than patches there are after the tower and the merger."""


def minicpm_vit(name_or_folder: str, *, checkpointing: bool = False, backend: Backend = "auto") -> EarlyCompressionViT:
    """Build the image tower of a published MiniCPM-V 4.6 with its weights.

    Under `torch.device("meta")` only the sizes are read, and the tower has no weights.

    Args:
        name_or_folder: local folder in transformers' layout, or a hub name such as `openbmb/MiniCPM-V-4.6`, which needs
            the package huggingface_hub (`foveal-encoders[hub]`).
        checkpointing: see `EarlyCompressionViT`.
        backend: see `EarlyCompressionViT`.

    Raises:
        ValueError: see `clip_vit`; also if a setting of the folder is not known, which is named.
        ImportError: see `clip_vit`.
    """
    folder = folder_of(name_or_folder)
    sizes = vision_config(folder, {"minicpmv4_6_vision": "MiniCPM-V 4.6"}, DEFAULTS)
    for field, value in KNOWN.items():
        if sizes.get(field, value) != value:
            raise ValueError(f"{folder}: {field} is {sizes[field]!r}, only {value!r} can be read")
    if sizes["hidden_act"] not in ACTIVATIONS:
        raise ValueError(f"{folder}: hidden_act is {sizes['hidden_act']!r}, known are {', '.join(ACTIVATIONS)}")
    for field in ("image_size", "patch_size"):
        if not isinstance(sizes[field], int):
            raise ValueError(f"{folder}: {field} is {sizes[field]!r}, only one number for both sides can be read")
    model = EarlyCompressionViT(
        sizes["hidden_size"],
        sizes["num_hidden_layers"],
        sizes["num_attention_heads"],
        sizes["intermediate_size"],
        sizes["patch_size"],
        sizes["image_size"],
        compress_after=_compress_after(folder, sizes["num_hidden_layers"]),
        activation=ACTIVATIONS[sizes["hidden_act"]],
        norm_eps=sizes["layer_norm_eps"],
        checkpointing=checkpointing,
        backend=backend,
    )
    if not only_shapes():
        stored = StoredTensors(folder)
        published = {name: name.removeprefix(PREFIX) for name in stored.shapes if name.startswith(PREFIX)}
        tensors = {published[name]: tensor for name, tensor in stored.stream(published)}
        load_exact(model, minicpm_weights(tensors, model, source=str(folder)), source=str(folder))
    return model


def minicpm_weights(tensors: Mapping[str, Tensor], model: EarlyCompressionViT, *, source: str) -> dict[str, Tensor]:
    """Rename the published weights of MiniCPM-V 4.6's tower to our names.

    Args:
        tensors: under transformers' names, without prefix.
        model: the model that the weights are for; if it does not merge patches, the layers for that are left out.
        source: named in errors.

    Raises:
        ValueError: if a name is unknown.
    """
    read = TRANSFORMERS.read(tensors, source=source)
    merges = model.compression is not None
    return {name: tensor for name, tensor in read.items() if merges or not name.startswith("compression.")}


def _compress_after(folder: Path, depth: int) -> int | None:
    """The number of blocks before patches are merged, which the configuration of the whole model says."""
    whole = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    mode, inserted = whole.get("downsample_mode", COMPRESSED), whole.get("insert_layer_id", 6)
    if mode not in (COMPRESSED, UNCOMPRESSED):
        raise ValueError(f"{folder}: downsample_mode is {mode!r}, expected {COMPRESSED} or {UNCOMPRESSED}")
    if not isinstance(inserted, int) or not 0 <= inserted < depth:
        raise ValueError(f"{folder}: insert_layer_id is {inserted!r}, not one of {depth} layers, counted from 0")
    return inserted + 1 if mode == COMPRESSED else None

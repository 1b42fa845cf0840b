"""DINOv2's tower: published sizes, weight names and files."""

from collections.abc import Mapping

import torch
from torch import Tensor

from foveal.core import Backend, KeyMap, load_exact, read_tensors
from foveal.encoders.block import Activation
from foveal.encoders.clip import PREFIXES
from foveal.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD
from foveal.encoders.hub import folder_of, only_shapes, tower_weights, vision_config
from foveal.encoders.vit import VisionTransformer

KINDS = ("weight", "bias")

TRANSFORMERS = KeyMap(
    {
        "embeddings.cls_token": "class_token",
        "embeddings.mask_token": None,
        "embeddings.position_embeddings": "positions",
        "embeddings.register_tokens": "registers",
        **{f"embeddings.patch_embeddings.projection.{kind}": f"patches.{kind}" for kind in KINDS},
        **{
            tuple(f"encoder.layer.{{}}.{name}.{kind}" for name in names): f"blocks.{{}}.qkv.{kind}"
            for names in (
                ("attention.attention.query", "attention.attention.key", "attention.attention.value"),
                ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
            )
            for kind in KINDS
        },
        **{
            f"encoder.layer.{{}}.{published}.{kind}": f"blocks.{{}}.{ours}.{kind}"
            for published, ours in {
                "norm1": "attention_norm",
                "norm2": "mlp_norm",
                "attention.output.dense": "out",
                "attention.o_proj": "out",
                "mlp.fc1": "up",
                "mlp.fc2": "down",
                "mlp.weights_in": "up",
                "mlp.weights_out": "down",
            }.items()
            for kind in KINDS
        },
        "encoder.layer.{}.layer_scale1.lambda1": "blocks.{}.attention_scale",
        "encoder.layer.{}.layer_scale2.lambda1": "blocks.{}.mlp_scale",
        **{f"layernorm.{kind}": f"final_norm.{kind}" for kind in KINDS},
    }
)
"""transformers' names, both in its files and in its models in memory."""

HUB = KeyMap(
    {
        "cls_token": "class_token",
        "mask_token": None,
        "pos_embed": "positions",
        "register_tokens": "registers",
        "reg_token": "registers",
        **{f"patch_embed.proj.{kind}": f"patches.{kind}" for kind in KINDS},
        **{
            f"blocks.{{}}.{published}.{kind}": f"blocks.{{}}.{ours}.{kind}"
            for published, ours in {
                "norm1": "attention_norm",
                "norm2": "mlp_norm",
                "attn.qkv": "qkv",
                "attn.proj": "out",
                "mlp.fc1": "up",
                "mlp.fc2": "down",
                "mlp.w12": "up",
                "mlp.w3": "down",
            }.items()
            for kind in KINDS
        },
        "blocks.{}.ls1.gamma": "blocks.{}.attention_scale",
        "blocks.{}.ls2.gamma": "blocks.{}.mlp_scale",
        **{f"norm.{kind}": f"final_norm.{kind}" for kind in KINDS},
    }
)
"""The names in the authors' repository and in timm."""


def dinov2_tower(
    width: int,
    depth: int,
    heads: int,
    mlp_width: int,
    patch_size: int,
    image_size: int,
    *,
    layers: tuple[int, ...] = (-1,),
    num_registers: int = 0,
    activation: Activation = "gelu",
    checkpointing: bool = False,
    backend: Backend = "auto",
) -> VisionTransformer:
    """Build a `VisionTransformer` as in DINOv2 (arXiv 2304.07193): layer scale, a patch bias, no first norm.

    States are returned before the final norm, as used by mixture-of-features models. With registers, positions are
    antialiased when they are resampled (arXiv 2309.16588, released code).
    """
    return VisionTransformer(
        width,
        depth,
        heads,
        mlp_width,
        patch_size,
        image_size,
        layers=layers,
        activation=activation,
        norm_eps=1e-6,
        num_registers=num_registers,
        patch_bias=True,
        use_pre_norm=False,
        layer_scale=True,
        antialias=num_registers > 0,
        checkpointing=checkpointing,
        backend=backend,
        image_mean=IMAGENET_MEAN,
        image_std=IMAGENET_STD,
    )


def dinov2_vit_large(*, layers: tuple[int, ...] = (-1,), num_registers: int = 0) -> VisionTransformer:
    """Build the L/14 with new weights: width 1024, 24 blocks, positions for 37 x 37 patches."""
    return dinov2_tower(1024, 24, 16, 4096, 14, 518, layers=layers, num_registers=num_registers)


def dinov2_vit(
    name_or_folder: str,
    *,
    layers: tuple[int, ...] = (-1,),
    checkpointing: bool = False,
    backend: Backend = "auto",
) -> VisionTransformer:
    """Build a published DINOv2 with its weights.

    Under `torch.device("meta")` only the sizes are read, and the tower has no weights.

    Args:
        name_or_folder: local folder in transformers' layout, or a hub name such as `facebook/dinov2-large`, which needs
            the package huggingface_hub (`foveal-encoders[hub]`).
        layers: see `VisionTransformer`.
        checkpointing: see `VisionTransformer`.
        backend: see `VisionTransformer`.

    Raises:
        ValueError: see `clip_vit`.
        ImportError: see `clip_vit`.
    """
    folder = folder_of(name_or_folder)
    defaults = {
        "hidden_size": 768,
        "mlp_ratio": 4,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 518,
        "patch_size": 14,
        "use_swiglu_ffn": False,
        "num_register_tokens": 0,
    }
    kinds = {"dinov2": "DINOv2", "dinov2_with_registers": "DINOv2"}
    sizes = vision_config(folder, kinds, defaults)
    registers = sizes["num_register_tokens"] if sizes.get("model_type") == "dinov2_with_registers" else 0
    mlp_width = int(sizes["hidden_size"] * sizes["mlp_ratio"])
    if sizes["use_swiglu_ffn"]:
        mlp_width = (int(mlp_width * 2 / 3) + 7) // 8 * 8
    model = dinov2_tower(
        sizes["hidden_size"],
        sizes["num_hidden_layers"],
        sizes["num_attention_heads"],
        mlp_width,
        sizes["patch_size"],
        sizes["image_size"],
        layers=layers,
        num_registers=registers,
        activation="swiglu" if sizes["use_swiglu_ffn"] else "gelu",
        checkpointing=checkpointing,
        backend=backend,
    )
    if not only_shapes():
        load_exact(model, dinov2_weights(read_tensors(folder), model, source=str(folder)), source=str(folder))
    return model


def dinov2_weights(tensors: Mapping[str, Tensor], model: VisionTransformer, *, source: str) -> dict[str, Tensor]:
    """Rename a DINOv2's published weights to our names, leaving out blocks that `model` does not build.

    timm adds the class token's position to the token itself, so its position table gets a row of zeros.

    Args:
        tensors: under transformers', the authors' or timm's names, with or without prefix.
        model: the model that the weights are for.
        source: named in errors.

    Raises:
        ValueError: if there is no such tower among the names, or a name is unknown.
    """
    tables = {"embeddings.cls_token": TRANSFORMERS, "cls_token": HUB}
    weights = tower_weights(model, tensors, tables, kind="DINOv2", prefixes=PREFIXES, source=source)
    positions = weights.get("positions")
    if positions is not None and "reg_token" in "".join(tensors) and positions.shape[-2] + 1 == len(model.positions):
        positions = positions.reshape(-1, positions.shape[-1])
        weights["positions"] = torch.cat([torch.zeros_like(positions[:1]), positions])
    return weights

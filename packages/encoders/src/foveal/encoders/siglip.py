"""SigLIP's image tower: published sizes, weight names and files."""

from collections.abc import Mapping

from torch import Tensor

from foveal.core import Backend, KeyMap, load_exact, read_tensors
from foveal.encoders.block import Activation
from foveal.encoders.clip import PREFIXES, TEXT_TOWER
from foveal.encoders.encoder import HALF
from foveal.encoders.hub import folder_of, only_shapes, tower_weights, vision_config
from foveal.encoders.vit import VisionTransformer

KINDS = ("weight", "bias")
LAYERS = {"layer_norm1": "attention_norm", "layer_norm2": "mlp_norm", "self_attn.out_proj": "out"}
POOLING = ("attention.out_proj", "layernorm", "mlp.fc1", "mlp.fc2")
TIMM_POOLING = ("q", "kv", "proj", "norm", "mlp.fc1", "mlp.fc2")

TRANSFORMERS = KeyMap(
    {
        **{f"embeddings.patch_embedding.{kind}": f"patches.{kind}" for kind in KINDS},
        "embeddings.position_embedding.weight": "positions",
        "embeddings.position_ids": None,
        **{
            f"encoder.layers.{{}}.{published}.{kind}": f"blocks.{{}}.{ours}.{kind}"
            for published, ours in {**LAYERS, "mlp.fc1": "up", "mlp.fc2": "down"}.items()
            for kind in KINDS
        },
        **{
            tuple(f"encoder.layers.{{}}.self_attn.{part}_proj.{kind}" for part in "qkv"): f"blocks.{{}}.qkv.{kind}"
            for kind in KINDS
        },
        **{f"post_layernorm.{kind}": f"final_norm.{kind}" for kind in KINDS},
        **dict.fromkeys(("head.probe", "head.attention.in_proj_weight", "head.attention.in_proj_bias")),
        **dict.fromkeys(f"head.{part}.{kind}" for part in POOLING for kind in KINDS),
    }
)
"""transformers' names, without their prefix; the pooling head is left out."""

TIMM = KeyMap(
    {
        **{f"patch_embed.proj.{kind}": f"patches.{kind}" for kind in KINDS},
        "pos_embed": "positions",
        **{
            f"blocks.{{}}.{published}.{kind}": f"blocks.{{}}.{ours}.{kind}"
            for published, ours in {
                "norm1": "attention_norm",
                "norm2": "mlp_norm",
                "attn.qkv": "qkv",
                "attn.proj": "out",
                "mlp.fc1": "up",
                "mlp.fc2": "down",
            }.items()
            for kind in KINDS
        },
        **{f"norm.{kind}": f"final_norm.{kind}" for kind in KINDS},
        "attn_pool.latent": None,
        **dict.fromkeys(f"attn_pool.{part}.{kind}" for part in TIMM_POOLING for kind in KINDS),
    }
)
"""timm's names, also used by open_clip's SigLIP and DeepSeek-VL; the pooling head is left out."""


def siglip_tower(
    width: int,
    depth: int,
    heads: int,
    mlp_width: int,
    patch_size: int,
    image_size: int,
    *,
    layers: tuple[int, ...] = (-2,),
    use_final_norm: bool = False,
    activation: Activation = "gelu_tanh",
    norm_eps: float = 1e-6,
    checkpointing: bool = False,
    backend: Backend = "auto",
) -> VisionTransformer:
    """Build a `VisionTransformer` as in SigLIP (arXiv 2303.15343): no class token, no first norm, a patch bias.

    transformers uses the approximate GELU; for the first SigLIPs timm (and DeepSeek-VL) use the exact one, `gelu`.
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
        norm_eps=norm_eps,
        use_class_token=False,
        patch_bias=True,
        use_pre_norm=False,
        use_final_norm=use_final_norm,
        checkpointing=checkpointing,
        backend=backend,
        image_mean=HALF,
        image_std=HALF,
    )


def siglip_vit_so400m_384(*, layers: tuple[int, ...] = (-2,)) -> VisionTransformer:
    """Build the so400m/14 at 384 pixels with new weights: width 1152, 27 blocks, 27 x 27 patches (6 pixels unused)."""
    return siglip_tower(1152, 27, 16, 4304, 14, 384, layers=layers)


def siglip_vit_large_384(*, layers: tuple[int, ...] = (-2,)) -> VisionTransformer:
    """Build the L/16 at 384 pixels with new weights: width 1024, 24 blocks, 24 x 24 patches."""
    return siglip_tower(1024, 24, 16, 4096, 16, 384, layers=layers)


def siglip_vit(
    name_or_folder: str,
    *,
    layers: tuple[int, ...] = (-2,),
    use_final_norm: bool = False,
    activation: Activation | None = None,
    checkpointing: bool = False,
    backend: Backend = "auto",
) -> VisionTransformer:
    """Build a published SigLIP (or fixed-resolution SigLIP 2) image tower with its weights.

    Under `torch.device("meta")` only the sizes are read, and the tower has no weights.

    Args:
        name_or_folder: local folder in transformers' layout, or a hub name such as `google/siglip-so400m-patch14-384`,
            which needs the package huggingface_hub (`foveal-encoders[hub]`).
        layers: see `VisionTransformer`.
        use_final_norm: see `VisionTransformer`.
        activation: overrides the configuration's; DeepSeek-VL's tower uses the exact `gelu`.
        checkpointing: see `VisionTransformer`.
        backend: see `VisionTransformer`.

    Raises:
        ValueError: see `clip_vit`; also if the configuration's activation is unknown.
        ImportError: see `clip_vit`.
    """
    folder = folder_of(name_or_folder)
    defaults = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 16,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-6,
    }
    sizes = vision_config(folder, {"siglip_vision_model": "SigLIP", "siglip": "SigLIP"}, defaults)
    activations: dict[str, Activation] = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
    if sizes["hidden_act"] not in activations:
        raise ValueError(f"{folder}: unknown activation {sizes['hidden_act']!r}: {' or '.join(activations)}")
    model = siglip_tower(
        sizes["hidden_size"],
        sizes["num_hidden_layers"],
        sizes["num_attention_heads"],
        sizes["intermediate_size"],
        sizes["patch_size"],
        sizes["image_size"],
        layers=layers,
        use_final_norm=use_final_norm,
        activation=activation or activations[sizes["hidden_act"]],
        norm_eps=sizes["layer_norm_eps"],
        checkpointing=checkpointing,
        backend=backend,
    )
    if not only_shapes():
        load_exact(model, siglip_weights(read_tensors(folder), model, source=str(folder)), source=str(folder))
    return model


def siglip_weights(tensors: Mapping[str, Tensor], model: VisionTransformer, *, source: str) -> dict[str, Tensor]:
    """Rename a SigLIP's published weights to our names, leaving out blocks that `model` does not build.

    Args:
        tensors: under transformers' or timm's names, with or without prefix, with or without text tower.
        model: the model that the weights are for.
        source: named in errors.

    Raises:
        ValueError: if there is no image tower among the names, or a name is unknown.
    """
    tables = {"embeddings.patch_embedding.weight": TRANSFORMERS, "patch_embed.proj.weight": TIMM}
    return tower_weights(model, tensors, tables, kind="SigLIP", prefixes=PREFIXES, ignored=TEXT_TOWER, source=source)

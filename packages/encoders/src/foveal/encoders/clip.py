"""CLIP's image tower: published sizes, weight names and files."""

from collections.abc import Mapping

from torch import Tensor

from foveal.core import Backend, KeyMap, load_exact, read_tensors
from foveal.encoders.hub import folder_of, only_shapes, tower_weights, vision_config
from foveal.encoders.vit import VisionTransformer

TRANSFORMERS = KeyMap(
    {
        "embeddings.class_embedding": "class_token",
        "embeddings.patch_embedding.weight": "patches.weight",
        "embeddings.position_embedding.weight": "positions",
        "embeddings.position_ids": None,
        "pre_layrnorm.weight": "pre_norm.weight",
        "pre_layrnorm.bias": "pre_norm.bias",
        **{
            f"encoder.layers.{{}}.{published}.{kind}": f"blocks.{{}}.{ours}.{kind}"
            for published, ours in {
                "layer_norm1": "attention_norm",
                "layer_norm2": "mlp_norm",
                "self_attn.out_proj": "out",
                "mlp.fc1": "up",
                "mlp.fc2": "down",
            }.items()
            for kind in ("weight", "bias")
        },
        **{
            tuple(f"encoder.layers.{{}}.self_attn.{part}_proj.{kind}" for part in "qkv"): f"blocks.{{}}.qkv.{kind}"
            for kind in ("weight", "bias")
        },
        "post_layernorm.weight": None,
        "post_layernorm.bias": None,
    }
)
"""transformers' names, without their prefix."""

OPENAI = KeyMap(
    {
        "class_embedding": "class_token",
        "conv1.weight": "patches.weight",
        "positional_embedding": "positions",
        "ln_pre.weight": "pre_norm.weight",
        "ln_pre.bias": "pre_norm.bias",
        "transformer.resblocks.{}.attn.in_proj_weight": "blocks.{}.qkv.weight",
        "transformer.resblocks.{}.attn.in_proj_bias": "blocks.{}.qkv.bias",
        **{
            f"transformer.resblocks.{{}}.{published}.{kind}": f"blocks.{{}}.{ours}.{kind}"
            for published, ours in {
                "ln_1": "attention_norm",
                "ln_2": "mlp_norm",
                "attn.out_proj": "out",
                "mlp.c_fc": "up",
                "mlp.c_proj": "down",
            }.items()
            for kind in ("weight", "bias")
        },
        "ln_post.weight": None,
        "ln_post.bias": None,
        "proj": None,
    }
)
"""OpenAI's and open_clip's names, without the prefix `visual.`."""

# The first prefix with a tower under it is used. In a file with both towers, the rest belongs to the text tower.
PREFIXES = (
    "model.vision_tower.vision_tower.vision_model.",
    "model.vision_tower.vision_tower.",
    "model.vision_tower.vision_model.",
    "model.vision_tower.",
    "vision_tower.vision_tower.vision_model.",
    "vision_tower.vision_tower.",
    "vision_tower.vision_model.",
    "vision_tower.",
    "vision_model.",
    "visual.trunk.",
    "visual.",
    "",
)
TEXT_TOWER = (
    "text.",
    "text_model.",
    "text_projection",
    "visual_projection.",
    "visual.head.",
    "logit_scale",
    "logit_bias",
    "transformer.",
    "token_embedding.",
    "positional_embedding",
    "ln_final.",
    "attn_mask",
)


def clip_vit_large_336(*, layers: tuple[int, ...] = (-2,), keep_class_token: bool = False) -> VisionTransformer:
    """Build ViT-L/14 at 336 pixels with new weights: width 1024, 24 blocks, 24 x 24 patches."""
    return VisionTransformer(1024, 24, 16, 4096, 14, 336, layers=layers, keep_class_token=keep_class_token)


def clip_vit_large_224(*, layers: tuple[int, ...] = (-2,), keep_class_token: bool = False) -> VisionTransformer:
    """Build ViT-L/14 at 224 pixels with new weights: width 1024, 24 blocks, 16 x 16 patches."""
    return VisionTransformer(1024, 24, 16, 4096, 14, 224, layers=layers, keep_class_token=keep_class_token)


def clip_vit(
    name_or_folder: str,
    *,
    layers: tuple[int, ...] = (-2,),
    keep_class_token: bool = False,
    antialias: bool = False,
    checkpointing: bool = False,
    backend: Backend = "auto",
) -> VisionTransformer:
    """Build a published CLIP image tower with its weights.

    Under `torch.device("meta")` only the sizes are read, and the tower has no weights.

    Args:
        name_or_folder: local folder with `config.json` and `model.safetensors` in transformers' layout (weights under
            transformers', OpenAI's or open_clip's names), or a hub name such as `openai/clip-vit-large-patch14-336`,
            which needs the package huggingface_hub (`foveal-encoders[hub]`).
        layers: see `VisionTransformer`.
        keep_class_token: see `VisionTransformer`.
        antialias: see `VisionTransformer`; LLaVA-HR's tower was trained with it.
        checkpointing: see `VisionTransformer`.
        backend: see `VisionTransformer`.

    Raises:
        ValueError: if the folder does not hold a CLIP, its weights do not fit its configuration, or there is neither a
            folder nor a hub model of that name that can be fetched.
        ImportError: if a hub name is given and huggingface_hub is not installed.
    """
    folder = folder_of(name_or_folder)
    defaults = {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 32,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    }
    sizes = vision_config(folder, {"clip_vision_model": "CLIP", "clip": "CLIP"}, defaults)
    model = VisionTransformer(
        sizes["hidden_size"],
        sizes["num_hidden_layers"],
        sizes["num_attention_heads"],
        sizes["intermediate_size"],
        sizes["patch_size"],
        sizes["image_size"],
        layers=layers,
        activation=sizes["hidden_act"],
        norm_eps=sizes["layer_norm_eps"],
        keep_class_token=keep_class_token,
        antialias=antialias,
        checkpointing=checkpointing,
        backend=backend,
    )
    if not only_shapes():
        load_exact(model, clip_weights(read_tensors(folder), model, source=str(folder)), source=str(folder))
    return model


def clip_weights(tensors: Mapping[str, Tensor], model: VisionTransformer, *, source: str) -> dict[str, Tensor]:
    """Rename an image tower's published weights to our names, leaving out blocks that `model` does not build.

    Args:
        tensors: under transformers', OpenAI's or open_clip's names, with or without prefix, with or without text tower.
        model: the model that the weights are for.
        source: named in errors.

    Raises:
        ValueError: if there is no image tower among the names, or a name is unknown.
    """
    tables = {"embeddings.class_embedding": TRANSFORMERS, "class_embedding": OPENAI}
    return tower_weights(model, tensors, tables, kind="CLIP", prefixes=PREFIXES, ignored=TEXT_TOWER, source=source)

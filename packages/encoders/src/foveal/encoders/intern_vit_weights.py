"""The published names of InternViT's weights."""

from collections.abc import Mapping

from torch import Tensor

from foveal.core import KeyMap
from foveal.encoders.hub import tower_weights
from foveal.encoders.vit import VisionTransformer

KINDS = ("weight", "bias")

TRANSFORMERS = KeyMap(
    {
        "embeddings.cls_token": "class_token",
        "embeddings.mask_token": None,
        "embeddings.position_embeddings": "positions",
        **{f"embeddings.patch_embeddings.projection.{kind}": f"patches.{kind}" for kind in KINDS},
        **{
            tuple(f"encoder.layer.{{}}.attention.{part}_proj.{kind}" for part in "qkv"): f"blocks.{{}}.qkv.{kind}"
            for kind in KINDS
        },
        **{
            f"encoder.layer.{{}}.{published}.{kind}": f"blocks.{{}}.{ours}.{kind}"
            for published, ours in {
                "layernorm_before": "attention_norm",
                "layernorm_after": "mlp_norm",
                "attention.projection_layer": "out",
                "attention.q_norm": "query_norm",
                "attention.k_norm": "key_norm",
                "mlp.fc1": "up",
                "mlp.fc2": "down",
            }.items()
            for kind in KINDS
        },
        "encoder.layer.{}.lambda_1": "blocks.{}.attention_scale",
        "encoder.layer.{}.lambda_2": "blocks.{}.mlp_scale",
        **{f"layernorm.{kind}": f"final_norm.{kind}" for kind in KINDS},
    }
)
"""transformers' names, without their prefix."""

AUTHORS = KeyMap(
    {
        "embeddings.class_embedding": "class_token",
        "embeddings.position_embedding": "positions",
        **{f"embeddings.patch_embedding.{kind}": f"patches.{kind}" for kind in KINDS},
        **{
            f"encoder.layers.{{}}.{published}.{kind}": f"blocks.{{}}.{ours}.{kind}"
            for published, ours in {
                "norm1": "attention_norm",
                "norm2": "mlp_norm",
                "attn.qkv": "qkv",
                "attn.proj": "out",
                "attn.q_norm": "query_norm",
                "attn.k_norm": "key_norm",
                "mlp.fc1": "up",
                "mlp.fc2": "down",
            }.items()
            for kind in KINDS
        },
        "encoder.layers.{}.ls1": "blocks.{}.attention_scale",
        "encoder.layers.{}.ls2": "blocks.{}.mlp_scale",
    }
)
"""The names in the authors' repository, without their prefix."""

PREFIXES = ("model.vision_tower.", "vision_tower.", "vision_model.", "")
REST = (
    *("model.language_model.", "language_model.", "lm_head."),
    *("model.multi_modal_projector.", "multi_modal_projector.", "mlp1."),
)
"""What else is in the files of an InternVL."""


def intern_vit_weights(tensors: Mapping[str, Tensor], model: VisionTransformer, *, source: str) -> dict[str, Tensor]:
    """Rename an InternViT's published weights to our names, leaving out blocks that `model` does not build.

    Args:
        tensors: under the authors' or transformers' names, with or without prefix, alone or inside an InternVL.
        model: the model that the weights are for.
        source: named in errors.

    Raises:
        ValueError: if there is no such tower among the names, or a name is unknown.
    """
    tables = {"embeddings.cls_token": TRANSFORMERS, "embeddings.class_embedding": AUTHORS}
    return tower_weights(model, tensors, tables, kind="InternViT", prefixes=PREFIXES, ignored=REST, source=source)

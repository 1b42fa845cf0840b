"""The names that InternVL's own repository gives to the tensors of its tower."""

import re

import torch

NAMES = (
    (r"cls_token", "class_embedding"),
    (r"position_embeddings", "position_embedding"),
    (r"patch_embeddings\.projection", "patch_embedding"),
    (r"encoder\.layer\.", "encoder.layers."),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"attention\.projection_layer", "attn.proj"),
    (r"attention\.([qk]_norm)", r"attn.\1"),
    (r"lambda_", "ls"),
)


def as_the_authors_name(tensors, others=()):
    """The tensors that transformers wrote, those of the tower under the authors' names, with one for q, k and v.

    Args:
        others: patterns of the names of other parts, and what stands in their place.
    """
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, written in (*others, *NAMES):
            name = re.sub(pattern, written, name)
        renamed[name] = tensor
    for name in [name for name in renamed if ".attention.q_proj." in name]:
        parts = [renamed.pop(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        renamed[name.replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
    return renamed

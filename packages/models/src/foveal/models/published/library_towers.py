"""Image towers in transformers' configuration and names."""

from typing import Any

import torch
from torch import Tensor

from foveal.encoders import Encoder, VisionTransformer
from foveal.encoders.clip import TRANSFORMERS as CLIP
from foveal.encoders.siglip import TRANSFORMERS as SIGLIP

ACTIVATIONS = {"gelu_tanh": "gelu_pytorch_tanh"}
"""transformers' names where they differ."""


def library_tower(encoder: Encoder) -> VisionTransformer | None:
    """The encoder, if it is a CLIP or a SigLIP that returns one layer in a way that transformers' can; otherwise None.

    They are told apart by the class token, which a SigLIP has not.
    """
    if not isinstance(encoder, VisionTransformer) or len(encoder.states) != 1:
        return None
    unusual = (
        encoder.num_registers
        or encoder.layer_scale
        or encoder.final_norm
        or encoder.norm != "layer"
        or not encoder.qkv_bias
        or encoder.norm_queries
    )
    is_clip = encoder.use_class_token and encoder.use_pre_norm and not encoder.patch_bias
    is_siglip = not encoder.use_class_token and not encoder.use_pre_norm and encoder.patch_bias
    activations = ("quick_gelu", "gelu") if is_clip else ("gelu_tanh", "gelu")
    return encoder if (is_clip or is_siglip) and not unusual and encoder.activation in activations else None


def vision_config(tower: VisionTransformer) -> dict[str, Any]:
    """transformers' configuration of a CLIP or SigLIP; blocks after the layer that is used do not exist."""
    described = {
        "model_type": "clip_vision_model",
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp_width,
        "num_hidden_layers": len(tower.blocks),
        "num_attention_heads": tower.heads,
        "image_size": tower.image_size,
        "patch_size": tower.patch_size,
        "hidden_act": ACTIVATIONS.get(tower.activation, tower.activation),
        "layer_norm_eps": tower.norm_eps,
    }
    if not tower.use_class_token:
        described |= {"model_type": "siglip_vision_model", "vision_use_head": False}
    return described


def strategy(tower: VisionTransformer) -> str:
    """transformers' `vision_feature_select_strategy`: `default` leaves out the first token, a CLIP's class token."""
    return "default" if tower.use_class_token and not tower.keep_class_token else "full"


def tower_tensors(tower: VisionTransformer) -> dict[str, Tensor]:
    """The tower's tensors under transformers' names, including the norm after its last block, which is never used."""
    norm = {"post_layernorm.weight": torch.ones(tower.width), "post_layernorm.bias": torch.zeros(tower.width)}
    table, like = CLIP if tower.use_class_token else SIGLIP, tower.positions
    return table.write(tower.state_dict()) | {name: tensor.to(like) for name, tensor in norm.items()}

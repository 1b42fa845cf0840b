"""Image towers in transformers' configuration and names."""

from typing import Any

import torch
from torch import Tensor

from foveal.encoders import Encoder, VisionTransformer
from foveal.encoders.clip import TRANSFORMERS as CLIP


def clip_of(encoder: Encoder) -> VisionTransformer | None:
    """The encoder, if it is a CLIP that returns one layer in a way that transformers' can; otherwise None."""
    if not isinstance(encoder, VisionTransformer):
        return None
    is_clip = (
        encoder.use_class_token
        and encoder.use_pre_norm
        and encoder.activation in ("quick_gelu", "gelu")
        and not (encoder.num_registers or encoder.patch_bias or encoder.layer_scale or encoder.final_norm)
        and len(encoder.states) == 1
    )
    return encoder if is_clip else None


def vision_config(tower: VisionTransformer) -> dict[str, Any]:
    """transformers' configuration of a CLIP; blocks after the layer that is used do not exist."""
    return {
        "model_type": "clip_vision_model",
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp_width,
        "num_hidden_layers": len(tower.blocks),
        "num_attention_heads": tower.heads,
        "image_size": tower.image_size,
        "patch_size": tower.patch_size,
        "hidden_act": tower.activation,
        "layer_norm_eps": tower.norm_eps,
    }


def clip_tensors(tower: VisionTransformer) -> dict[str, Tensor]:
    """The tower's tensors under transformers' names, including the norm after its last block, which is never used."""
    norm = {"post_layernorm.weight": torch.ones(tower.width), "post_layernorm.bias": torch.zeros(tower.width)}
    like = tower.positions
    return CLIP.write(tower.state_dict()) | {name: tensor.to(like) for name, tensor in norm.items()}

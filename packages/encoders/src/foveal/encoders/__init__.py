"""Vision encoders: views in, feature maps of the layers asked for out."""

from foveal.encoders.clip import clip_vit, clip_vit_large_224, clip_vit_large_336, clip_weights
from foveal.encoders.encoder import Encoder
from foveal.encoders.vit import VisionTransformer

__all__ = ["Encoder", "VisionTransformer", "clip_vit", "clip_vit_large_224", "clip_vit_large_336", "clip_weights"]

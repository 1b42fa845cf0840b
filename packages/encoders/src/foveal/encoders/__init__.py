"""Vision encoders turn views into feature maps of the requested layers."""

from importlib.metadata import version

from foveal.core import Grid
from foveal.encoders.causal_flow import CausalFlowEncoder
from foveal.encoders.causal_flow_weights import causal_flow_weights
from foveal.encoders.clip import clip_vit, clip_vit_large_224, clip_vit_large_336, clip_weights
from foveal.encoders.convnext import ConvNeXt, convnext, convnext_large, convnext_weights, convnext_xxlarge
from foveal.encoders.deepstack import StackedVisionTransformer
from foveal.encoders.dinov2 import dinov2_tower, dinov2_vit, dinov2_vit_large, dinov2_weights
from foveal.encoders.early_compression import EarlyCompressionViT
from foveal.encoders.encoder import Encoder
from foveal.encoders.frames import FrameEncoder
from foveal.encoders.hybrid import SamSiglipHybrid, deepseek_vl_weights
from foveal.encoders.intern_vit import (
    intern_vit,
    intern_vit_6b_448,
    intern_vit_300m_448,
    intern_vit_tower,
)
from foveal.encoders.intern_vit_weights import intern_vit_weights
from foveal.encoders.llava_hr import MixtureOfResolution, llava_hr_weights
from foveal.encoders.minicpm import minicpm_vit, minicpm_weights
from foveal.encoders.moonvit import MoonViT
from foveal.encoders.moonvit_weights import moonvit, moonvit_weights, refined_patches
from foveal.encoders.parallel import ParallelEncoder
from foveal.encoders.pyramid import InverseSemanticPyramid, semantic_pyramid, vdim_weights
from foveal.encoders.qwen3_vl import Qwen3VisionTransformer, qwen3_vision_weights
from foveal.encoders.sam import SamViTDet
from foveal.encoders.sam_weights import sam_vit, sam_weights
from foveal.encoders.siglip import (
    siglip_tower,
    siglip_vit,
    siglip_vit_large_384,
    siglip_vit_so400m_384,
    siglip_weights,
)
from foveal.encoders.vit import VisionTransformer

__all__ = [
    "CausalFlowEncoder",
    "ConvNeXt",
    "EarlyCompressionViT",
    "Encoder",
    "FrameEncoder",
    "Grid",
    "InverseSemanticPyramid",
    "MixtureOfResolution",
    "MoonViT",
    "ParallelEncoder",
    "Qwen3VisionTransformer",
    "SamSiglipHybrid",
    "SamViTDet",
    "StackedVisionTransformer",
    "VisionTransformer",
    "causal_flow_weights",
    "clip_vit",
    "clip_vit_large_224",
    "clip_vit_large_336",
    "clip_weights",
    "convnext",
    "convnext_large",
    "convnext_weights",
    "convnext_xxlarge",
    "deepseek_vl_weights",
    "dinov2_tower",
    "dinov2_vit",
    "dinov2_vit_large",
    "dinov2_weights",
    "intern_vit",
    "intern_vit_6b_448",
    "intern_vit_300m_448",
    "intern_vit_tower",
    "intern_vit_weights",
    "llava_hr_weights",
    "minicpm_vit",
    "minicpm_weights",
    "moonvit",
    "moonvit_weights",
    "qwen3_vision_weights",
    "refined_patches",
    "sam_vit",
    "sam_weights",
    "semantic_pyramid",
    "siglip_tower",
    "siglip_vit",
    "siglip_vit_large_384",
    "siglip_vit_so400m_384",
    "siglip_weights",
    "vdim_weights",
]
__version__ = version("foveal-encoders")
"""Of the installed package."""

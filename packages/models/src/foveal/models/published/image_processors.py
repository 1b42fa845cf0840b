"""transformers' image processors: their names, and what they take for settings that a file does not have."""

from typing import Any

from foveal.encoders import VisionTransformer
from foveal.encoders.encoder import CLIP_MEAN, CLIP_STD, HALF

CLIP, LLAVA, LLAVA_NEXT = "CLIPImageProcessor", "LlavaImageProcessor", "LlavaNextImageProcessor"
SIGLIP, ONEVISION = "SiglipImageProcessor", "LlavaOnevisionImageProcessor"
MINICPM = "MiniCPMV4_6ImageProcessor"
GOT = "GotOcr2ImageProcessor"
"""GOT-OCR 2.0's, also InternVL's."""
DEEPSEEK_OCR2 = "DeepseekOcr2ImageProcessor"
QWEN2_VL = "Qwen2VLImageProcessor"
"""Also Qwen3-VL's."""
DEFAULTS: dict[str, Any] = {
    "image_processor_type": CLIP,
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_pad": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
}
"""What transformers takes for settings that a file does not have, the same for the first three classes above."""
DEFAULTS_OF: dict[str, dict[str, Any]] = {
    GOT: {
        "size": {"height": 384, "width": 384},
        "do_center_crop": False,
        "crop_to_patches": False,
        "min_patches": 1,
        "max_patches": 12,
    },
    DEEPSEEK_OCR2: {
        "size": {"height": 1024, "width": 1024},
        "tile_size": 768,
        "do_center_crop": False,
        "crop_to_patches": True,
        "min_patches": 2,
        "max_patches": 6,
        "background_color": [127, 127, 127],
        "image_mean": HALF,
        "image_std": HALF,
    },
    SIGLIP: {
        "size": {"height": 224, "width": 224},
        "do_center_crop": False,
        "image_mean": HALF,
        "image_std": HALF,
    },
    ONEVISION: {"size": {"height": 384, "width": 384}, "do_center_crop": False, "crop_size": None, "do_pad": True},
    MINICPM: {
        "max_slice_nums": 9,
        "scale_resolution": 448,
        "patch_size": 14,
        "slice_mode": True,
        "downsample_mode": "16x",
        "use_image_id": True,
        "image_mean": HALF,
        "image_std": HALF,
    },
    QWEN2_VL: {
        "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 1280},
        "do_center_crop": False,
        "patch_size": 14,
        "merge_size": 2,
        "temporal_patch_size": 2,
    },
}
"""Where other classes differ."""


def square_views(tower: VisionTransformer) -> dict[str, Any]:
    """The settings that all of them share, for views as large as `tower` takes them."""
    return {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(tower.image_mean),
        "image_std": list(tower.image_std),
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": tower.image_size, "width": tower.image_size},
    }

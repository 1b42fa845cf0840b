"""Every method at its published size, as shapes without weights.

Call a builder under `torch.device("meta")`. Prompts and tokenizers are not the published ones: nothing here reads text.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from foveal.connectors import Connector, MlpProjector
from foveal.encoders import Encoder, clip_vit_large_336
from foveal.models import Merge, PadToSquare, ViewPlan, VisionLanguageModel, byte_tokenizer
from recipes.command_line.configurations import merged
from recipes.estimates.shapes import shapes_of
from tools.bench.language_models import CONTEXT, part

SAM: tuple[str, dict[str, Any]] = ("foveal.encoders.SamViTDet", {})
STAND_INS: dict[str, tuple[str, dict[str, Any]]] = {
    "facebook/dinov2-large": ("foveal.encoders.dinov2_vit_large", {}),
    "google/siglip-large-patch16-384": (
        "foveal.encoders.siglip_tower",
        {"width": 1024, "depth": 24, "heads": 16, "mlp_width": 4096, "patch_size": 16, "image_size": 384},
    ),
    "ConvLLaVA/ConvLLaVA-ConvNeXt-1024": ("foveal.encoders.convnext_large", {"fifth_stage": True}),
    "ConvLLaVA/LAION-CLIP-ConvNeXt-Large-512": ("foveal.encoders.convnext_large", {}),
    "foveal.encoders.sam_vit": SAM,
    "foveal.models.load_encoder": SAM,  # Vary's vocabulary
    "OpenGVLab/InternViT-300M-448px-V2_5": ("foveal.encoders.intern_vit_300m_448", {}),
    "openbmb/MiniCPM-V-4.6": (
        "foveal.encoders.EarlyCompressionViT",
        {"width": 1152, "depth": 27, "heads": 16, "mlp_width": 4304, "patch_size": 14, "image_size": 980},
    ),
    "foveal.encoders.semantic_pyramid": ("foveal.encoders.InverseSemanticPyramid", {}),
    "facebook/opt-125m": ("tools.bench.language_models.opt_125m", {}),
}
"""Name of weights, or of the class that reads them -> settings of a part with their shapes."""
UNSHAPED = ("name_or_folder", "path", "folder", "dtype", "context", "new_convolutions", "checkpointing")
"""Arguments that concern reading weights, or training."""


def model(
    language_model: nn.Module,
    *,
    encoder: Encoder | None = None,
    connector: Callable[[Any, int], Connector] = MlpProjector,
    plan: ViewPlan | None = None,
    merge: Callable[[int], Merge] | None = None,
) -> VisionLanguageModel:
    """LLaVA-1.5, with the method's own parts in place of LLaVA's."""
    return VisionLanguageModel(
        clip_vit_large_336() if encoder is None else encoder,
        connector,
        language_model,
        byte_tokenizer(),
        PadToSquare(336) if plan is None else plan,
        merge=merge,
        max_length=CONTEXT,
    )


def network(*names: str, changes: Mapping[str, Any] | None = None) -> VisionLanguageModel:
    """The network of the given configurations as shapes, those of the weights that they name.

    Args:
        names: names of the configurations, as after `--config`.
        changes: settings of the network by their dotted names, without `init_args`.
    """
    described = _shapes(merged(*names)["model"]["network"])
    for name, value in (changes or {}).items():
        *outer, last = name.split(".")
        place = described
        for each in outer:
            place = place[each] if last == "class_path" else place[each]["init_args"]
        place[last] = value
    settings = {"class_path": "foveal.models.VisionLanguageModel", "init_args": described}
    return shapes_of(VisionLanguageModel, settings).built


def _shapes(described: Any) -> Any:
    """Settings that read nothing: every part that names weights is replaced by one of `STAND_INS`."""
    if isinstance(described, list):
        return [_shapes(each) for each in described]
    if not isinstance(described, dict):
        return described
    if "class_path" not in described:
        return {key: _shapes(value) for key, value in described.items()}
    arguments = {key: _shapes(value) for key, value in described.get("init_args", {}).items() if key not in UNSHAPED}
    name = described.get("init_args", {}).get("name_or_folder", described["class_path"])
    if described["class_path"].endswith(".pretrained_tokenizer"):
        return {"class_path": "foveal.models.byte_tokenizer", "init_args": {"tokens": arguments.get("tokens", [])}}
    if name in STAND_INS:
        class_path, sizes = STAND_INS[name]
        return {"class_path": class_path, "init_args": {**arguments, **sizes}}
    if name != described["class_path"]:
        arguments["name_or_folder"] = name  # `shapes_of` knows its sizes
    return {"class_path": described["class_path"], "init_args": arguments}


METHODS: dict[str, Callable[[], VisionLanguageModel]] = {
    "LLaVA-1.5 7B": partial(network, "llava/7b"),
    "DeCo 7B": partial(network, "deco/7b"),
    "Q-Former, 2 layers, 7B": partial(network, "qformer/7b"),
    "Dense Connector 7B": partial(network, "dense_connector/7b"),
    "MMFuser 7B": partial(network, "mmfuser/7b"),
    "LLaVA-NeXT 7B": partial(network, "llava_next/7b"),
    "LLaVA-OneVision 0.5B": partial(network, "llava_onevision/500m"),
    "LLaVA-OneVision 7B": partial(network, "llava_onevision/7b"),
    "PLLaVA 7B, 16 frames": partial(network, "pllava/7b"),
    "DeepStack-L 7B": partial(network, "deepstack_l/7b"),
    "DeepStack-V 7B": partial(network, "deepstack_v/7b"),
    "DeepStack-L-HD 7B": partial(network, "deepstack_hd/7b"),
    # A head for every 128 channels.
    "LLaVA-UHD 7B, 64 queries": partial(network, "uhd/13b", "vicuna_7b", changes={"connector.heads": 32}),
    "LLaVA-UHD v2 7B": partial(network, "uhd_v2/7b"),
    "LLaVA-UHD v3 7B": partial(network, "uhd_v3/7b"),
    "ConvLLaVA 7B, 1536 pixels": partial(network, "convllava/7b", changes={"plan.size": 1536}),
    "LLaVA-HR 7B, 1024 pixels": partial(network, "llava_hr/7b"),
    "DeepSeek-VL 7B": partial(network, "deepseek_vl/7b", changes={"language_model": part("deepseek_7b")}),
    "Vary-base 7B": partial(network, "vary/7b", changes={"language_model": part("qwen_7b")}),
    "Vary-tiny": partial(network, "vary_tiny/125m"),
    "DeepSeek-OCR 2": partial(network, "deepseek_ocr2/3b", changes={"language_model": part("deepseek_3b_of_experts")}),
    "GOT-OCR 2.0, one view": partial(network, "got_ocr/580m", changes={"language_model": part("qwen_500m")}),
    "GOT-OCR 2.0, 12 tiles": partial(
        network, "got_ocr/580m", changes={"language_model": part("qwen_500m"), "plan.max_tiles": 12}
    ),
    "InternVL3 1B": partial(network, "internvl/1b", changes={"language_model": part("internvl3_1b")}),
    "MiniCPM-V 4.6": partial(
        network, "minicpm_v/1b", changes={"language_model": part("qwen3_5_800m"), "max_length": CONTEXT}
    ),
    "Qwen3-VL 2B": partial(network, "qwen3_vl/2b"),
    "Qwen3-VL 4B": partial(network, "qwen3_vl/4b"),
    "LLaVA-1.5 13B": partial(network, "llava/13b"),
    "MMFuser 13B": partial(network, "mmfuser/13b"),
    "DeepStack-L 13B": partial(network, "deepstack_l/13b"),
    "LLaVA-UHD 13B, 64 queries": partial(network, "uhd/13b"),
    # As released: each query has its own window, and there is one more slice.
    "LLaVA-UHD 13B, 144 queries": partial(
        network,
        "uhd/13b",
        changes={
            "connector": {
                "class_path": "foveal.connectors.SpatialResampler",
                "init_args": {"queries": 144, "heads": 40},
            },
            "plan.max_slices": 7,
        },
    ),
    "Mixture of features 13B": partial(network, "mixture_of_features/13b"),
}

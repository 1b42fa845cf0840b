"""Every method at its published size, as shapes without weights.

Call a builder under `torch.device("meta")`. Prompts and tokenizers are not the published ones: nothing here reads text.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from foveal.connectors import Connector, MlpProjector
from foveal.encoders import Encoder, clip_vit_large_336
from foveal.models import Merge, PadToSquare, ViewPlan, VisionLanguageModel, byte_tokenizer, llama, opt
from foveal.models.language_models.causal import causal_class
from foveal.models.language_models.qwen1 import qwen2_config_of
from recipes.command_line.configurations import merged
from recipes.estimates.shapes import shapes_of

CONTEXT = 4096
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
    "facebook/opt-125m": ("tools.bench.published.opt_125m", {}),
}
"""Name of weights, or of the class that reads them -> settings of a part with their shapes."""
UNSHAPED = ("name_or_folder", "path", "folder", "dtype", "context", "new_convolutions", "checkpointing")
"""Arguments that concern reading weights, or training."""


def vicuna_7b() -> nn.Module:
    """Vicuna-7B v1.5."""
    return llama(32000, width=4096, depth=32, heads=32, mlp_width=11008, context=CONTEXT)


def vicuna_13b() -> nn.Module:
    """Vicuna-13B v1.5."""
    return llama(32000, width=5120, depth=40, heads=40, mlp_width=13824, context=CONTEXT)


def deepseek_7b() -> nn.Module:
    """DeepSeek LLM 7B (arXiv 2401.02954, section 2.2)."""
    return llama(102400, width=4096, depth=30, heads=32, mlp_width=11008, context=CONTEXT)


def qwen_7b() -> nn.Module:
    """Qwen-7B, as the Qwen2 that computes the same; its table has more rows than the 151,860 tokens that Vary uses."""
    from transformers import Qwen2ForCausalLM

    config = {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "layer_norm_epsilon": 1e-6,
        "rotary_emb_base": 10000,
        "seq_length": 8192,
    }
    model: nn.Module = Qwen2ForCausalLM(qwen2_config_of(config, source="Qwen-7B"))
    return model


def qwen_500m() -> nn.Module:
    """Qwen1.5-0.5B with the 151,860 tokens of GOT-OCR 2.0, and tied tables (its released configuration)."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=151860,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=24,
        num_attention_heads=16,
        num_key_value_heads=16,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
    )
    model: nn.Module = Qwen2ForCausalLM(config)
    return model


def deepseek_3b_of_experts() -> nn.Module:
    """DeepSeek-OCR 2's language model (its released configuration): 64 experts in all layers but the first."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(
        "deepseek_ocr2_text",
        vocab_size=129_280,
        hidden_size=1280,
        intermediate_size=6848,
        num_hidden_layers=12,
        num_attention_heads=10,
        num_key_value_heads=10,
        max_position_embeddings=8192,
        n_routed_experts=64,
        n_shared_experts=2,
        num_experts_per_tok=6,
        moe_intermediate_size=896,
        mlp_layer_types=["dense"] + ["sparse"] * 11,
    )
    model: nn.Module = causal_class(config).from_config(config)
    return model


def opt_125m() -> nn.Module:
    """OPT-125M with Vary-tiny's three new tokens and its positions for 4096 tokens."""
    return opt(50268, width=768, depth=12, heads=12, mlp_width=3072, context=CONTEXT)


def internvl3_1b() -> nn.Module:
    """The language model of InternVL3-1B: Qwen2.5-0.5B with nine more tokens and an output layer of its own."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    model: nn.Module = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=151674,
            hidden_size=896,
            intermediate_size=4864,
            num_hidden_layers=24,
            num_attention_heads=14,
            num_key_value_heads=2,
            max_position_embeddings=32768,
        )
    )
    return model


def qwen3_5_800m() -> nn.Module:
    """Qwen3.5-0.8B with the 248,094 tokens of MiniCPM-V 4.6 (its released configuration)."""
    from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

    config = Qwen3_5TextConfig(
        vocab_size=248094,
        hidden_size=1024,
        intermediate_size=3584,
        num_hidden_layers=24,
        num_attention_heads=8,
        num_key_value_heads=2,
        linear_num_value_heads=16,
        max_position_embeddings=262144,
        tie_word_embeddings=True,
    )
    model: nn.Module = Qwen3_5ForCausalLM(config)
    return model


def part(name: str) -> dict[str, Any]:
    """The settings of a language model in this file."""
    return {"class_path": f"{__name__}.{name}", "init_args": {}}


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
    "DeepStack-L 7B": partial(network, "deepstack_l/7b"),
    "DeepStack-V 7B": partial(network, "deepstack_v/7b"),
    "DeepStack-HD 7B": partial(network, "deepstack_hd/7b"),
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

"""Every method at the size it was published with, as shapes without weights.

Call a builder under `torch.device("meta")`. Prompts and tokenizers are not the published ones: nothing here reads text.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from foveal.connectors import (
    AdaptivePool,
    Chain,
    Connector,
    DenseConnector,
    MlpProjector,
    MMFuser,
    Parallel,
    PerceiverResampler,
    QFormer,
    SpatialResampler,
    SplitMlp,
)
from foveal.encoders import (
    Encoder,
    MixtureOfResolution,
    ParallelEncoder,
    SamSiglipHybrid,
    SamViTDet,
    StackedVisionTransformer,
    VisionTransformer,
    clip_vit_large_224,
    clip_vit_large_336,
    convnext_large,
    dinov2_vit_large,
    siglip_tower,
)
from foveal.models import (
    AnyResMerge,
    AnyResPlan,
    DeepStackHdMerge,
    DeepStackHdPlan,
    DeepStackMerge,
    DeepStackPlan,
    Merge,
    PadToSquare,
    UhdPlan,
    VaryPlan,
    ViewPlan,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
    opt,
)
from foveal.models.language_models.qwen1 import qwen2_config_of

CONTEXT = 4096
LINEAR = partial(MlpProjector, depth=1)


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


def opt_125m() -> nn.Module:
    """OPT-125M with Vary-tiny's three new tokens and its positions for 4096 tokens."""
    return opt(50268, width=768, depth=12, heads=12, mlp_width=3072, context=CONTEXT)


def model(
    language_model: nn.Module,
    *,
    encoder: Encoder | None = None,
    connector: Callable[[Any, int], Connector] = MlpProjector,
    plan: ViewPlan | None = None,
    merge: Callable[[int], Merge] | None = None,
    tokens: Sequence[str] = (),
) -> VisionLanguageModel:
    """LLaVA-1.5, with what a method has instead of its parts; `tokens` are those that its plan puts into prompts."""
    return VisionLanguageModel(
        clip_vit_large_336() if encoder is None else encoder,
        connector,
        language_model,
        byte_tokenizer(tokens),
        PadToSquare(336) if plan is None else plan,
        merge=merge,
        max_length=CONTEXT,
    )


def deepstack_l(language_model: nn.Module) -> VisionLanguageModel:
    """DeepStack-L: tiles stacked into layers of the language model."""
    return model(language_model, plan=DeepStackPlan(336), merge=DeepStackMerge)


def deepstack_v(language_model: nn.Module) -> VisionLanguageModel:
    """DeepStack-V: tiles stacked into the last blocks of the encoder."""
    encoder = StackedVisionTransformer(clip_vit_large_336(), start=20)
    return model(language_model, encoder=encoder, plan=DeepStackPlan(336, square=True, together=True))


def deepstack_hd(language_model: nn.Module) -> VisionLanguageModel:
    """DeepStack-L-HD: AnyRes with enlarged crops of every view stacked into layers."""
    return model(language_model, plan=DeepStackHdPlan(336), merge=DeepStackHdMerge)


def uhd_paper(language_model: nn.Module, *, heads: int) -> VisionLanguageModel:
    """LLaVA-UHD as in its first paper: 64 queries, at most 6 slices; a head for every 128 channels."""
    return model(language_model, connector=partial(PerceiverResampler, queries=64, heads=heads), plan=UhdPlan())


def uhd_release(language_model: nn.Module, *, heads: int) -> VisionLanguageModel:
    """LLaVA-UHD as released: 144 queries with windows of their own, at most 7 slices."""
    connector = partial(SpatialResampler, queries=144, heads=heads)
    return model(language_model, connector=connector, plan=UhdPlan(max_slices=7))


def mmfuser(language_model: nn.Module) -> VisionLanguageModel:
    """MMFuser: every fifth layer, the last of them the query."""
    connector = partial(Chain, stages=[MMFuser], last=MlpProjector)
    return model(language_model, encoder=clip_vit_large_336(layers=(3, 8, 13, 18, 23)), connector=connector)


def dense_connector(language_model: nn.Module) -> VisionLanguageModel:
    """Dense Connector (dci): the last layer beside the means of two halves of all layers."""
    connector = partial(Chain, stages=[DenseConnector], last=MlpProjector)
    return model(language_model, encoder=clip_vit_large_336(layers=tuple(range(24))), connector=connector)


def qformer(language_model: nn.Module) -> VisionLanguageModel:
    """The Q-Former that DeCo is compared with: the first two layers of BLIP-2's."""
    return model(language_model, connector=partial(QFormer, queries=144, depth=2))


def llava_hr(language_model: nn.Module, *, size: int = 1024) -> VisionLanguageModel:
    """LLaVA-HR; `size` is the side of its one view in pixels."""
    fast = VisionTransformer(1024, 24, 16, 4096, 14, 336, layers=(-1,), antialias=True)
    return model(language_model, encoder=MixtureOfResolution(fast, convnext_large()), plan=PadToSquare(size))


def convllava(language_model: nn.Module, *, size: int = 1536) -> VisionLanguageModel:
    """ConvLLaVA; `size` is the side of its one view in pixels."""
    return model(language_model, encoder=convnext_large(fifth_stage=True), plan=PadToSquare(size))


def deepseek_vl(language_model: nn.Module) -> VisionLanguageModel:
    """DeepSeek-VL: SAM and SigLIP of one view."""
    low = siglip_tower(1024, 24, 16, 4096, 16, 384, layers=(-1,), use_final_norm=True, activation="gelu")
    encoder = SamSiglipHybrid(SamViTDet(), low)
    return model(language_model, encoder=encoder, connector=SplitMlp, plan=PadToSquare(1024))


def mixture_of_features(language_model: nn.Module) -> VisionLanguageModel:
    """Interleaved mixture of features: CLIP's and DINOv2's tokens by turns."""
    encoder = ParallelEncoder([clip_vit_large_336(), dinov2_vit_large()], one_view=True)
    connector = partial(Parallel, branches=[MlpProjector, MlpProjector], join="interleave")
    return model(language_model, encoder=encoder, connector=connector)


def vary_tiny(language_model: nn.Module) -> VisionLanguageModel:
    """Vary-tiny: the vocabulary network alone."""
    return model(language_model, encoder=SamViTDet(), connector=LINEAR, plan=VaryPlan(1024), tokens=("<img>", "</img>"))


def vary_base(language_model: nn.Module) -> VisionLanguageModel:
    """Vary-base: CLIP at 224 pixels and the vocabulary network, side by side."""
    return model(
        language_model,
        encoder=ParallelEncoder([clip_vit_large_224(), SamViTDet()]),
        connector=partial(Parallel, branches=[LINEAR, LINEAR]),
        plan=VaryPlan(1024, 224),
        tokens=("<img>", "</img>"),
    )


METHODS: dict[str, Callable[[], VisionLanguageModel]] = {
    "LLaVA-1.5 7B": lambda: model(vicuna_7b()),
    "DeCo 7B": lambda: model(vicuna_7b(), connector=AdaptivePool),
    "Q-Former, 2 layers, 7B": lambda: qformer(vicuna_7b()),
    "Dense Connector 7B": lambda: dense_connector(vicuna_7b()),
    "MMFuser 7B": lambda: mmfuser(vicuna_7b()),
    "LLaVA-NeXT 7B": lambda: model(vicuna_7b(), plan=AnyResPlan(336), merge=AnyResMerge),
    "DeepStack-L 7B": lambda: deepstack_l(vicuna_7b()),
    "DeepStack-V 7B": lambda: deepstack_v(vicuna_7b()),
    "DeepStack-HD 7B": lambda: deepstack_hd(vicuna_7b()),
    "LLaVA-UHD 7B, 64 queries": lambda: uhd_paper(vicuna_7b(), heads=32),
    "ConvLLaVA 7B, 1536 pixels": lambda: convllava(vicuna_7b()),
    "LLaVA-HR 7B, 1024 pixels": lambda: llava_hr(vicuna_7b()),
    "DeepSeek-VL 7B": lambda: deepseek_vl(deepseek_7b()),
    "Vary-base 7B": lambda: vary_base(qwen_7b()),
    "Vary-tiny": lambda: vary_tiny(opt_125m()),
    "LLaVA-1.5 13B": lambda: model(vicuna_13b()),
    "MMFuser 13B": lambda: mmfuser(vicuna_13b()),
    "DeepStack-L 13B": lambda: deepstack_l(vicuna_13b()),
    "LLaVA-UHD 13B, 64 queries": lambda: uhd_paper(vicuna_13b(), heads=40),
    "LLaVA-UHD 13B, 144 queries": lambda: uhd_release(vicuna_13b(), heads=40),
    "Mixture of features 13B": lambda: mixture_of_features(vicuna_13b()),
}

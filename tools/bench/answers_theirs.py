"""transformers' own 4-bit LLaVA-1.5-7B, as its `BitsAndBytesConfig` makes it, for `tools.bench.answers`.

All linear layers except the output are quantised, including those of the image tower and the projector. `fill` sets
random weights; our models get their unquantised weights from it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionConfig, GenerationConfig, LlamaConfig, LlavaConfig

from foveal.models.language_models.quantize import import_bitsandbytes

SIDE = 336


def shapes(*, tiny: bool) -> nn.Module:
    """CLIP ViT-L/14 at 336 pixels and Vicuna-7B; `tiny`: narrow, with the same patches and positions.

    Call it in a context in which parameters get no memory.
    """
    from transformers import LlavaForConditionalGeneration

    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    text = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    if tiny:
        vision = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        text = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision, image_size=SIDE, patch_size=14),
        text_config=LlamaConfig(**text, vocab_size=32064, max_position_embeddings=4096, rms_norm_eps=1e-5),
        dtype=torch.bfloat16,
    )
    model: nn.Module = LlavaForConditionalGeneration(config)
    return model.eval()


def in_4_bits(model: nn.Module) -> None:
    """Replace linear layers by the library's 4-bit layers, still without weights, as `from_pretrained` does."""
    import_bitsandbytes()
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert

    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    replace_with_bnb_linear(model, get_keys_to_not_convert(model), quantization_config=how)
    model.eval()


def fill(model: nn.Module, device: torch.device) -> None:
    """Set missing weights to random bf16 values, norms to ones; the library's 4-bit weights quantise theirs.

    Embedding tables get large values: otherwise the layers' outputs would dominate, and the same token would follow all
    others.
    """
    for module in model.modules():
        for leaf, weight in module.named_parameters(recurse=False):
            if weight.is_meta:
                values = torch.empty(weight.shape, dtype=torch.bfloat16, device=device)
                is_scale = "Norm" in type(module).__name__ and leaf == "weight"
                std = 1.0 if isinstance(module, nn.Embedding) else 0.02
                values = values.fill_(1.0) if is_scale else values.normal_(std=std)
                # The library stores on a weight how to quantise it, and quantises when the weight is moved.
                filled = type(weight)(values, requires_grad=False, **vars(weight)).to(device)
                setattr(module, leaf, filled)
        for leaf, buffer in module.named_buffers(recurse=False):
            setattr(module, leaf, buffer.to(device))


def answering(model: Any, device: torch.device, *, visual: int, text: int) -> Callable[[int], list[int]]:
    """A function from a number of new tokens to an answer's greedy tokens; no token ends the answer.

    Args:
        model: with weights.
        device: the model's device.
        visual: tokens of the only picture.
        text: text tokens after them.
    """
    ids = torch.tensor([[model.config.image_token_id] * visual + list(range(7, 7 + text))], device=device)
    pixels = torch.randn(1, 3, SIDE, SIDE, dtype=torch.bfloat16, device=device)
    model.generation_config = GenerationConfig()

    def answer(new_tokens: int) -> list[int]:
        with torch.inference_mode():
            found: torch.Tensor = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values=pixels,
                max_new_tokens=new_tokens,
                do_sample=False,
                eos_token_id=[],
                pad_token_id=0,
            )
        numbers: list[int] = found[0, ids.shape[1] :].tolist()
        return numbers

    return answer

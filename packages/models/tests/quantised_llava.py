"""A small LLaVA quantised by transformers, as folders and as transformers has it, for tests of such folders."""

import json

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from safetensors.torch import load_file, save_file
from transformers import (
    BitsAndBytesConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from foveal.models import IMAGE_TOKEN_ID, byte_tokenizer

SIDE, IMAGE_ID = 28, 271
VISION = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 1,
    "image_size": SIDE,
    "patch_size": 7,
}
TEXT = {
    "vocab_size": 272,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
}
DECODER_ALONE = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]
FOUR = {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.float32}
KINDS = {
    "nf4": FOUR | {"bnb_4bit_quant_type": "nf4"},
    "nf4-dq": FOUR | {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "fp4": FOUR,
    "fp4-dq": FOUR | {"bnb_4bit_use_double_quant": True},
    "int8": {"load_in_8bit": True},
}


def llava():
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION), text_config=LlamaConfig(**TEXT), image_token_index=IMAGE_ID
    )
    model = LlavaForConditionalGeneration(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.15)
    return model


def quantised(kind, source, folder, *, skipped=None, of=LlavaForConditionalGeneration):
    """Quantise the folder `source` into `folder` by transformers; return the model as transformers has it."""
    settings = BitsAndBytesConfig(**KINDS[kind], llm_int8_skip_modules=skipped)
    model = of.from_pretrained(source, quantization_config=settings, device_map="cpu", dtype=torch.float32).eval()
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return model


def rewritten(folder, change, **fields):
    """The folder with other tensors and settings."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= fields
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def prompts():
    torch.manual_seed(1)
    text, pixels = torch.randint(5, 260, (1, 9)), torch.randn(1, 3, SIDE, SIDE)
    ids = torch.cat([text[:, :3], torch.full((1, 16), IMAGE_TOKEN_ID), text[:, 3:]], dim=1)
    return ids, pixels


@torch.no_grad()
def logits_of(model):
    ids, pixels = prompts()
    if isinstance(model, LlavaForConditionalGeneration):
        return model(input_ids=ids.masked_fill(ids == IMAGE_TOKEN_ID, IMAGE_ID), pixel_values=pixels).logits
    return model(ids, list(pixels))


def dequantised(model):
    """Their model with the weights that it stands for: on a CPU, bitsandbytes' own layers round the scales of 4 bits.

    Layers in int8 remain as they are in the decoder; elsewhere, where inputs would be rounded too, they do not.
    """
    for name, layer in list(model.named_modules()):
        if isinstance(layer, Linear4bit):
            weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        elif isinstance(layer, Linear8bitLt) and ".layers." not in name.replace("vision_tower.encoder.layers", ""):
            weight = layer.weight.data * (layer.weight.SCB[:, None] / 127)
        else:
            continue
        linear = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        linear.weight.data, linear.bias = weight, layer.bias
        model.set_submodule(name, linear)
    return model

"""Folders that others have quantised with bitsandbytes: read as they are, beside transformers' own; others refused."""

import json
import logging

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from foveal.models import (
    IMAGE_TOKEN_ID,
    Turn,
    byte_tokenizer,
    generate,
    load,
    load_adapter,
    pretrained_language_model,
    save,
)
from foveal.models.checkpoints.adapter import save_adapter
from foveal.models.language_models.quantize import quantized_layers, recorded_kind
from foveal.models.lora import Lora, add_lora

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
TEXT_ONLY = torch.arange(5, 25)[None]


def llava():
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION), text_config=LlamaConfig(**TEXT), image_token_index=IMAGE_ID
    )
    model = LlavaForConditionalGeneration(config).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.15)
    return model


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    llava().save_pretrained(folder)
    return folder


@pytest.fixture
def quantised(plain, tmp_path):
    """A folder quantised by transformers, and the model as transformers has it."""

    def quantised(kind, *, skipped=None, of=LlavaForConditionalGeneration, source=plain):
        settings = BitsAndBytesConfig(**KINDS[kind], llm_int8_skip_modules=skipped)
        model = of.from_pretrained(source, quantization_config=settings, device_map="cpu", dtype=torch.float32).eval()
        folder = tmp_path / "quantised"
        model.save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        return folder, model

    return quantised


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


def answer(model):
    sample = model.processor.encode_prompt([Image.new("RGB", (30, 20), "red")], [Turn("user", "<image>\nWhat?")])
    return generate(model, model.processor.collate([sample], side="left"), max_new_tokens=4)


@pytest.mark.parametrize("is_tower_quantised", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_beside_transformers(quantised, kind, is_tower_quantised, caplog, tmp_path):
    """The same logits; the decoder is held as it is, tensor by tensor; saved and opened again, the same answers."""
    folder, theirs = quantised(kind, skipped=None if is_tower_quantised else DECODER_ALONE)
    with caplog.at_level(logging.INFO, logger="foveal.models.published"):
        model = load(folder)
    said = f"20 layers outside of the language model are quantised as {kind}, and dequantised while they are read, "
    assert (said in caplog.text) == is_tower_quantised
    expected = logits_of(dequantised(theirs))
    assert expected.std() > 0.1
    torch.testing.assert_close(logits_of(model), expected, atol=1e-5, rtol=1e-5)
    assert recorded_kind(model.language_model.config) == kind
    assert len(quantized_layers(model.language_model)) == 14
    stored = load_file(folder / "model.safetensors")
    inside = "language_model.model.layers.0.mlp.up_proj."
    pieces = {name.removeprefix(inside): tensor for name, tensor in stored.items() if name.startswith(inside)}
    held = model.language_model.model.layers[0].mlp.up_proj.state_dict()
    assert all(torch.equal(held[name], tensor) for name, tensor in pieces.items() if name != "weight_format")
    again = load(save(model, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(model))
    assert answer(again) == answer(model)


@torch.no_grad()
def test_a_skip_list_that_skips_nothing_quantises_the_output_layer_too(quantised, caplog):
    folder, theirs = quantised("nf4", skipped=["vision_tower"])
    assert "language_model.lm_head.weight.absmax" in load_file(folder / "model.safetensors")
    with caplog.at_level(logging.INFO, logger="foveal.models.language_models"):
        model = load(folder)
    assert "dequantised, because they are outside of the decoder: language_model.lm_head" in caplog.text
    torch.testing.assert_close(logits_of(model), logits_of(dequantised(theirs)), atol=1e-5, rtol=1e-5)
    assert len(quantized_layers(model.language_model)) == 14


@torch.no_grad()
@pytest.mark.parametrize("kind", ["nf4-dq", "fp4", "int8"])
def test_layers_of_the_decoder_that_are_not_quantised(quantised, kind, tmp_path):
    """As in dynamic quantisation, which leaves out the layers that lose most."""
    skipped = [*DECODER_ALONE, "model.language_model.layers.1.mlp", "model.language_model.layers.0.self_attn.q_proj"]
    folder, theirs = quantised(kind, skipped=skipped)
    model = load(folder)
    assert len(quantized_layers(model.language_model)) == 10
    torch.testing.assert_close(logits_of(model), logits_of(dequantised(theirs)), atol=1e-5, rtol=1e-5)
    again = load(save(model, tmp_path / "saved"))
    assert torch.equal(logits_of(again), logits_of(model))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["fp4-dq", "int8"])
def test_a_language_model_alone(quantised, kind, tmp_path):
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**TEXT)).save_pretrained(tmp_path / "llama")
    folder, theirs = quantised(kind, of=AutoModelForCausalLM, source=tmp_path / "llama")
    model = pretrained_language_model(str(folder))
    assert recorded_kind(model.config) == kind
    torch.testing.assert_close(model(TEXT_ONLY).logits, dequantised(theirs)(TEXT_ONLY).logits, atol=1e-5, rtol=1e-5)


def test_other_settings_win_over_the_folder(quantised, tmp_path):
    folder, _ = quantised("nf4")
    assert torch.equal(logits_of(load(folder, quantize="nf4")), logits_of(load(folder)))
    with pytest.raises(ValueError, match="is quantised already, as nf4: it cannot be quantised again, as int8"):
        load(folder, quantize="int8")
    half = load(folder, dtype="bfloat16")
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16, torch.uint8}
    with torch.device("meta"):
        assert recorded_kind(load(folder).language_model.config) == "nf4"


@pytest.mark.parametrize("kind", ["fp4", "int8"])
def test_adapters_on_it(quantised, kind, tmp_path):
    folder, _ = quantised(kind)
    model = load(folder)
    add_lora(model, Lora(rank=4, alpha=8, dropout=0.0))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    save_adapter(model, tmp_path / "adapter", base=folder)
    assert torch.equal(logits_of(load_adapter(tmp_path / "adapter")), logits_of(model))


def rewritten(folder, change, **fields):
    """The folder with other tensors and settings."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= fields
    (folder / "config.json").write_text(json.dumps(config))
    return folder


UP = "language_model.model.layers.0.mlp.up_proj."
FC = "vision_tower.encoder.layers.0.mlp.fc1."
MARK = "weight.quant_state.bitsandbytes__nf4"


@pytest.mark.parametrize(
    ("kind", "change", "fields", "message"),
    [
        ("nf4", {}, {"quant_method": "awq"}, r"quantised by 'awq' .*, only bitsandbytes .*quantise it while loading"),
        ("nf4", {}, {"quant_method": "gptq"}, r"quantised by 'gptq' .*take the folder that they were made from"),
        ("nf4", {}, {"bnb_4bit_quant_type": "nf3"}, "bnb_4bit_quant_type 'nf3', only nf4 and fp4 can be read"),
        ("nf4", {}, {"bnb_4bit_quant_storage": "bfloat16"}, "bnb_4bit_quant_storage 'bfloat16', only 'uint8'"),
        ("int8", {}, {"llm_int8_threshold": 0.0}, "llm_int8_threshold 0.0, only 6.0 can be read"),
        ("int8", {}, {"llm_int8_has_fp16_weight": True}, "llm_int8_has_fp16_weight True, only False"),
        ("int8", {f"{UP}weight_format": torch.tensor(2)}, {}, r"up_proj.weight_format is 2, only rows \(0\)"),
        ("int8", {f"{FC}weight_format": torch.tensor(1)}, {}, r"fc1.weight_format is 1, only rows \(0\)"),
        ("nf4", {f"{UP}weight.absmax": None}, {}, r"1 missing tensors, among them .*up_proj\.weight\.absmax"),
        ("nf4", {f"{FC}weight.absmax": None}, {}, r"1 missing tensors, among them .*fc1\.weight\.absmax"),
        ("nf4", {f"{FC}{MARK}": torch.arange(9).byte()}, {}, "fc1.weight.quant_state.bitsandbytes__nf4 is damaged"),
        ("nf4", {f"{UP}{MARK}": None, f"{UP}SCB": torch.ones(1)}, {}, "quantised as int8, nf4, only one of nf4, fp4"),
    ],
)
def test_refused(quantised, kind, change, fields, message):
    def changed(tensors):
        for name, tensor in change.items():
            tensors.pop(name, None)
            if tensor is not None:
                tensors[name] = tensor

    with pytest.raises(ValueError, match=message) as caught:
        load(rewritten(quantised(kind)[0], changed, **fields))
    assert len(str(caught.value).splitlines()) == 1


def test_what_the_configuration_says_is_not_there(tmp_path):
    model = llava()
    model.save_pretrained(tmp_path / "folder")
    byte_tokenizer().save_pretrained(tmp_path / "folder")
    config = json.loads((tmp_path / "folder/config.json").read_text())
    described = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    (tmp_path / "folder/config.json").write_text(json.dumps(config | {"quantization_config": described}))
    with pytest.raises(ValueError, match=r"its config\.json describes weights in nf4, but they are not quantised"):
        load(tmp_path / "folder")

"""Folders that others have quantised with bitsandbytes, read as they are, beside transformers' own models."""

import json
import logging

import pytest
import torch
from packages.models.tests.quantised_llava import (
    DECODER_ALONE,
    KINDS,
    TEXT,
    dequantised,
    llava,
    logits_of,
    rewritten,
)
from packages.models.tests.quantised_llava import (
    quantised as quantised_into,
)
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, LlavaForConditionalGeneration

from foveal.models import Turn, generate, load, load_adapter, pretrained_language_model, save
from foveal.models.checkpoints.adapter import save_adapter
from foveal.models.language_models.quantize import quantized_layers, recorded_kind
from foveal.models.lora import Lora, add_lora

TEXT_ONLY = torch.arange(5, 25)[None]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    llava().save_pretrained(folder)
    return folder


@pytest.fixture
def quantised(plain, tmp_path):
    """A folder quantised by transformers, and the model as transformers has it."""

    def quantised(kind, *, skipped=None, of=LlavaForConditionalGeneration, source=plain):
        folder = tmp_path / "quantised"
        return folder, quantised_into(kind, source, folder, skipped=skipped, of=of)

    return quantised


def answer(model):
    sample = model.processor.encode_prompt([Image.new("RGB", (30, 20), "red")], [Turn("user", "<image>\nWhat?")])
    return generate(model, model.processor.collate([sample], side="left"), max_new_tokens=4)


FAST = [("nf4-dq", True), ("int8", False)]
OTHERS = [(kind, towers) for kind in KINDS for towers in (False, True) if (kind, towers) not in FAST]
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("kind", "is_tower_quantised"), [*FAST, *(pytest.param(*names, marks=SLOW) for names in OTHERS)]
)
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
@pytest.mark.parametrize("kind", ["nf4-dq", pytest.param("fp4", marks=SLOW), pytest.param("int8", marks=SLOW)])
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
@pytest.mark.parametrize("kind", ["fp4-dq", pytest.param("int8", marks=SLOW)])
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


@pytest.mark.parametrize("kind", ["fp4", pytest.param("int8", marks=SLOW)])
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


@pytest.mark.parametrize("kind", [pytest.param("nf4-dq", marks=SLOW), "int8"])
def test_in_the_layout_of_llavas_own_code(quantised, kind):
    """Its `--load-4bit` leaves the tower out and quantises the projector."""
    folder, _ = quantised(kind)
    expected = logits_of(load(folder))
    names = {
        "language_model.": "",
        "vision_tower.": "model.vision_tower.vision_tower.vision_model.",
        "multi_modal_projector.linear_1.": "model.mm_projector.0.",
        "multi_modal_projector.linear_2.": "model.mm_projector.2.",
    }

    def renamed(tensors):
        for name in list(tensors):
            prefix = next(prefix for prefix in names if name.startswith(prefix))
            tensors[names[prefix] + name.removeprefix(prefix)] = tensors.pop(name)

    config = json.loads((rewritten(folder, renamed) / "config.json").read_text())
    fields = {
        "model_type": "llava",
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "mm_vision_select_layer": -2,
        "mm_projector_type": "mlp2x_gelu",
        "image_aspect_ratio": "pad",
        "quantization_config": config["quantization_config"],
    }
    (folder / "config.json").write_text(json.dumps(config["text_config"] | fields))
    model = load(folder)
    assert torch.equal(logits_of(model), expected)
    assert recorded_kind(model.language_model.config) == kind

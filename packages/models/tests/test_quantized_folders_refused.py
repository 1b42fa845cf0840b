"""Quantised folders that cannot be read: other methods and settings, and damaged ones."""

import json

import pytest
import torch
from packages.models.tests.quantised_llava import llava, quantised, rewritten

from foveal.models import byte_tokenizer, llama, load, pretrained_language_model

UP = "language_model.model.layers.0.mlp.up_proj."
FC = "vision_tower.encoder.layers.0.mlp.fc1."
MARK = "weight.quant_state.bitsandbytes__nf4"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    llava().save_pretrained(folder)
    return folder


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
        ("int8", {f"{UP}SCB": torch.ones(1)}, {}, "the pieces of a quantised weight"),
        ("int8", {f"{FC}SCB": torch.ones(1)}, {}, "fc1: the pieces of a quantised weight"),
        ("nf4", {f"{UP}weight.absmax": torch.ones(1)}, {}, "sizes and types .* 1, torch.float32"),
        ("nf4", {f"{FC}weight.absmax": torch.ones(1)}, {}, "fc1: the pieces of a quantised weight"),
        ("nf4", {f"{FC}weight": torch.zeros(1, 1).byte()}, {}, "fc1: the pieces of a quantised weight"),
        ("nf4-dq", {f"{FC}weight.nested_absmax": torch.ones(9)}, {}, "fc1: the pieces of a quantised weight"),
        ("nf4-dq", {f"{FC}weight.nested_quant_map": torch.ones(9)}, {}, "fc1: the pieces of a quantised weight"),
        ("nf4", {f"{UP}{MARK}": None, f"{UP}SCB": torch.ones(1)}, {}, "quantised as int8, nf4, only one of nf4, fp4"),
    ],
)
def test_refused(plain, tmp_path, kind, change, fields, message):
    def changed(tensors):
        for name, tensor in change.items():
            tensors.pop(name, None)
            if tensor is not None:
                tensors[name] = tensor

    quantised(kind, plain, tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        load(rewritten(tmp_path, changed, **fields))
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


@pytest.mark.parametrize("method", ["awq", "gptq", "fp8", "compressed-tensors"])
def test_a_language_model_alone(tmp_path, method):
    llama(272, width=16, depth=1, heads=2, mlp_width=16).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    described = {"quant_method": method, "bits": 4, "group_size": 128}
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": described}))
    with pytest.raises(ValueError, match=f"quantised by '{method}' .*, only bitsandbytes can be read: take the folder"):
        pretrained_language_model(str(tmp_path))

"""Checkpoints that are damaged, or not what they say: one short error with file and key, and no memory taken."""

import json
import resource
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, VisionLanguageModel, byte_tokenizer, llama, load, load_encoder, save

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")

LANGUAGE_MODEL = "language_model/config.json"
FREE = 1_000_000_000
"""Bytes that may be taken; one matrix of 20000x20000 has more."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 24, 7, 28),
        MlpProjector,
        llama(260, width=32, depth=1, heads=2, mlp_width=32),
        byte_tokenizer(),
        PadToSquare(28),
    )
    folder = save(model, tmp_path_factory.mktemp("saved") / "checkpoint")
    load(folder)  # what is imported on the way takes memory too
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "checkpoint")
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + FREE, before[1]))
    yield tmp_path / "checkpoint"
    resource.setrlimit(resource.RLIMIT_AS, before)


def refused(folder, message):
    with pytest.raises(ValueError, match=message) as error:
        load(folder)
    text = str(error.value)
    assert str(folder) in text
    assert len(text.splitlines()) <= 4
    assert len(text) < 800


def change_page(folder, keys, value):
    page = yaml.safe_load((folder / "config.yaml").read_text())
    inner = page
    for key in keys[:-1]:
        inner = inner[key]
    assert keys[-1] in inner
    inner[keys[-1]] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(page))


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ("encoder.width", 20_000, r"encoder\.safetensors .*attention_norm\.bias is \(16,\), the model's is \(20000,\)"),
        ("encoder.depth", 100_000_000, r"config\.yaml: the encoder has far more tensors than are stored"),
        ("encoder.width", 10**30, r"config\.yaml: the encoder "),
        ("encoder.width", "wide", r"config\.yaml: the encoder .*: width is 'wide', but must be int"),
        ("encoder.width", None, r"width is None, but must be int"),
        ("encoder.width", True, r"width is True, but must be int"),
        ("encoder.width", -16, r"config\.yaml: the encoder "),
        ("encoder.heads", 0, r"config\.yaml: the encoder .*heads 0"),
        ("encoder.layers", [[1]], r"layers is \(\(1,\),\), but must be "),
        ("encoder.image_mean", [1.0, "red", 1.0], r"image_mean is "),
        ("encoder.activation", "none", r"config\.yaml: the encoder "),
        ("connector.out_width", 20_000, r"connector\.safetensors .*the model's is \(20000"),
        ("connector.in_width", ["a"], r"config\.yaml: the connector .*in_width is \('a',\), but must be int"),
        ("plan.size", "large", r"config\.yaml: the plan .*size is 'large', but must be int"),
        ("plan.fill", [1, 2], r"config\.yaml: the plan .*fill is \(1, 2\), but must be "),
    ],
)
def test_parts_that_are_not_what_is_stored(folder, keys, value, message):
    part, name = keys.split(".")
    change_page(folder, [part, "init_args", name], value)
    refused(folder, message)
    if part == "encoder":
        with pytest.raises(ValueError, match="encoder"):
            load_encoder(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("template", "foo", r"config\.yaml: template is 'foo', but must be 'plain' or "),
        ("template", [1], r"config\.yaml: template is \[1\]"),
        ("system", 3, r"config\.yaml: system is 3, but must be str or null"),
        ("max_length", "long", r"config\.yaml: max_length is 'long', but must be int"),
        ("max_length", None, r"config\.yaml: max_length is None"),
        ("overlong", {"a": 1}, r"config\.yaml: overlong is {'a': 1}, but must be 'raise' or 'drop_turns'"),
        ("format", [1], r"config\.yaml: format \[1\]"),
        ("encoder", 3, r"config\.yaml: the encoder a description has the keys"),
        ("plan", None, r"config\.yaml: the plan a description has the keys"),
    ],
)
def test_settings_of_another_type(folder, key, value, message):
    change_page(folder, [key], value)
    refused(folder, message)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_size", 20_000, r"language_model: \d+ mismatched tensors: lm_head\.weight is \(260, 32\)"),
        ("vocab_size", 100_000_000, r"lm_head\.weight is \(260, 32\), config\.json says \(100000000, 32\)"),
        ("num_hidden_layers", 40, r"config\.json describes .* weights, .*'model\.layers\.1\."),
        ("num_hidden_layers", 10_000_000, r"language_model: its config\.json .*far more tensors than are stored"),
        ("hidden_size", "x", r"language_model: its config\.json .*hidden_size"),
        ("num_attention_heads", 0, r"language_model: its config\.json "),
        ("hidden_act", "none", r"language_model: its config\.json .*none"),
        ("model_type", "none", r"language_model: its config\.json .*none"),
        ("dtype", "float7", r"language_model: its config\.json .*float7"),
        ("quantization_config", 3, r"language_model: its config\.json "),
    ],
)
def test_a_language_model_that_is_not_what_is_stored(folder, key, value, message):
    described = json.loads((folder / LANGUAGE_MODEL).read_text())
    (folder / LANGUAGE_MODEL).write_text(json.dumps(described | {key: value}))
    refused(folder, message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.yaml", r"config\.yaml"),
        ("encoder.safetensors", r"encoder\.safetensors is damaged"),
        ("connector.safetensors", r"connector\.safetensors is damaged"),
        ("language_model/model.safetensors", r"language_model/model\.safetensors is damaged"),
        (LANGUAGE_MODEL, r"language_model: its config\.json is damaged"),
        ("tokenizer/tokenizer.json", r"tokenizer: the tokenizer's files are damaged"),
        ("tokenizer/tokenizer_config.json", r"tokenizer: the tokenizer's files are damaged"),
    ],
)
@pytest.mark.parametrize("fault", ["cut", "empty", "noise", "list"])
def test_damaged_files(folder, name, message, fault):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(
        {"cut": content[: len(content) // 2], "empty": b"", "noise": b"\xff\x00" + content[2:], "list": b"[]"}[fault]
    )
    refused(folder, message)


def test_a_plan_that_is_something_else(folder):
    described = {"class_path": "foveal.core.Size", "init_args": {"width": 1, "height": 1}}
    change_page(folder, ("plan",), described)
    refused(folder, "the plan is a Size, not a ViewPlan")


def test_the_folder_of_a_run(tmp_path):
    (tmp_path / "config.yaml").write_text("model: {}\ntrainer: {}\n")
    refused(tmp_path, r"is the folder of a run: its model is in .*checkpoint")


def test_a_tokenizer_whose_setting_is_of_another_type(folder):
    path = folder / "tokenizer/tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": "long"}))
    refused(folder, "tokenizer: the tokenizer's files are damaged")

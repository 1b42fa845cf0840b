"""Settings that no library can use: one error that names the folder, whatever is raised inside."""

import json
import shutil

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from foveal.models import byte_tokenizer, load


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tiny LLaVA, written by transformers."""
    folder = tmp_path_factory.mktemp("llava") / "model"
    text = LlamaConfig(vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(
            LlavaConfig(text_config=text, vision_config=vision, image_token_index=299, vision_feature_layer=-1)
        )
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("text_config", "num_hidden_layers", 10**6),
        ("text_config", "num_hidden_layers", 3),
        ("text_config", "vocab_size", None),
        ("text_config", "hidden_act", ""),
        ("text_config", "intermediate_size", -1),
        ("text_config", "num_key_value_heads", 0),
        ("text_config", "model_type", {}),
        ("text_config", "rope_parameters", {"rope_type": "zzz"}),
        ("vision_config", "hidden_size", [32]),
        ("vision_config", "patch_size", "x"),
        ("vision_config", "model_type", {}),
        (None, "vision_feature_layer", 1.5),
        (None, "model_type", []),
    ],
)
def test_one_error_names_the_folder(whole, tmp_path, part, key, value):
    folder = tmp_path / "hostile"
    shutil.copytree(whole, folder)
    config = json.loads((folder / "config.json").read_text())
    (config if part is None else config[part])[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="hostile") as refused:
        load(folder)
    assert len(str(refused.value).splitlines()) <= 4
    assert len(str(refused.value)) < 700


def test_the_folder_itself_opens(whole):
    assert load(whole).language_model.config.num_hidden_layers == 2

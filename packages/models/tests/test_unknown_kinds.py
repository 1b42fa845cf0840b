"""Models of unknown kinds are refused as what they are, before their weights are read or fetched."""

import json
import sys
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from foveal.encoders import clip_vit
from foveal.models import load
from foveal.models.published.kinds import refuse_unknown_kind

TEXT = {"model_type": "qwen2"}
UNKNOWN = {
    "qwen2_vl": {"model_type": "qwen2_vl"},
    "smolvlm": {"model_type": "smolvlm", "vision_config": {}, "text_config": TEXT},
    "h2ovl_chat": {"model_type": "h2ovl_chat", "vision_config": {}, "llm_config": TEXT},
}
OTHERS = {
    "LLaVA": {"model_type": "llava_next", "vision_config": {}, "text_config": TEXT},
    "LLaVA's own": {"model_type": "something", "mm_vision_tower": "openai/clip-vit-large-patch14"},
    "CLIP": {"model_type": "clip", "vision_config": {}, "text_config": {"model_type": "clip_text_model"}},
    "a language model": {"model_type": "qwen2"},
    "Vary": {"model_type": "mllm"},
}


@pytest.fixture
def hub(monkeypatch):
    """A hub that lists what was asked of it and has nothing."""
    fetched: list[str] = []
    module = ModuleType("huggingface_hub")
    module.fetched = fetched

    def snapshot_download(name, allow_patterns):
        fetched.append((name, allow_patterns))
        raise FileNotFoundError("there is nothing")

    module.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_folder_of_an_unknown_kind(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps(UNKNOWN[kind]))
    save_file({"visual.patch_embed.proj.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=f"a vision-language model of kind '{kind}', not known; known are llava, "):
        load(tmp_path)


@pytest.mark.parametrize("name", OTHERS)
def test_what_other_readers_decide(name):
    refuse_unknown_kind(OTHERS[name], source="somewhere")


def test_the_kind_is_looked_at_before_weights_are_fetched(tmp_path, hub):
    (tmp_path / "config.json").write_text(json.dumps(UNKNOWN["qwen2_vl"]))
    hub.snapshot_download = lambda name, allow_patterns: hub.fetched.append(allow_patterns) or str(tmp_path)
    with pytest.raises(ValueError, match="someone/model: a vision-language model of kind 'qwen2_vl'"):
        load("someone/model")
    assert hub.fetched == [["config.json"]]


def test_a_mistyped_folder_is_no_hub_name(tmp_path, hub, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "receipts").mkdir(parents=True)
    for open_it in (load, clip_vit):
        with pytest.raises(ValueError, match="no folder runs/receipt, but there is runs/receipts; runs is"):
            open_it("runs/receipt")
        with pytest.raises(ValueError, match="there is no folder runs/x; runs is a folder here"):
            open_it("runs/x")
    assert not hub.fetched
    with pytest.raises(ValueError, match="there is nothing"):
        load("someone/receipt")
    assert hub.fetched

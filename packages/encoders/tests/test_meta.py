"""Published towers as shapes: under `torch.device("meta")` sizes are read, but never weights."""

import json
import sys
from types import ModuleType

import pytest
import torch

from foveal.encoders import (
    SamViTDet,
    clip_vit,
    convnext,
    dinov2_vit,
    intern_vit,
    minicpm_vit,
    moonvit,
    sam_vit,
    siglip_vit,
)
from foveal.encoders.hub import PICTURES

TOWER = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
TOWERS = {
    "clip": (clip_vit, {"model_type": "clip_vision_model", "intermediate_size": 12, **TOWER}),
    "siglip": (siglip_vit, {"model_type": "siglip_vision_model", "intermediate_size": 12, **TOWER}),
    "dinov2": (dinov2_vit, {"model_type": "dinov2", "mlp_ratio": 2, **TOWER}),
    "intern_vit": (intern_vit, {"model_type": "internvl_vision", "intermediate_size": 12, **TOWER}),
    "minicpm": (
        minicpm_vit,
        {"model_type": "minicpmv4_6_vision", "intermediate_size": 12, "insert_layer_id": 0, **TOWER},
    ),
    "moonvit": (
        moonvit,
        {"model_type": "moonvit", "intermediate_size": 12, "init_pos_emb_height": 2, "init_pos_emb_width": 2, **TOWER},
    ),
    "convnext": (convnext, {"model_type": "convnext", "hidden_sizes": [4, 8], "depths": [1, 2]}),
}


@pytest.fixture(params=TOWERS)
def tower(request, tmp_path):
    build, config = TOWERS[request.param]
    (tmp_path / "config.json").write_text(json.dumps(config))
    return build, tmp_path


def test_sizes_are_read_without_weights(tower):
    build, folder = tower
    with torch.device("meta"):
        model = build(str(folder))
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    assert model.widths == (8,)
    with pytest.raises(ValueError, match="there are no weights"):
        build(str(folder))


def test_of_a_hub_name_only_the_sizes_are_fetched(tower, monkeypatch):
    build, folder = tower
    fetched = []
    hub = ModuleType("huggingface_hub")
    hub.snapshot_download = lambda name, allow_patterns: fetched.append((name, allow_patterns)) or str(folder)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with torch.device("meta"):
        model = build("someone/tower")
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    with pytest.raises(ValueError, match="publishes no safetensors"):
        build("someone/tower")
    assert fetched == [
        ("someone/tower", ["config.json"]),
        ("someone/tower", ["config.json", *PICTURES, "model*.safetensors", "model.safetensors.index.json"]),
    ]


def test_a_folder_without_sizes_is_refused_on_meta_too(tmp_path):
    with torch.device("meta"), pytest.raises(ValueError, match=r"has no config\.json"):
        clip_vit(str(tmp_path))


def test_sam_has_one_size_and_needs_no_file(tmp_path):
    with torch.device("meta"):
        model = sam_vit(tmp_path / "nowhere.safetensors", new_convolutions=True)
        fresh = SamViTDet()
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
        name: tensor.shape for name, tensor in fresh.state_dict().items()
    }
    assert all(tensor.is_meta for tensor in model.state_dict().values())

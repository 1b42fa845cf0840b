"""Adapters of others that cannot be converted: each is refused by name, and nothing is written."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.lora_folders import language_model, projector

from foveal.models import load, load_adapter
from recipes.commands.convert_adapter import convert_adapter


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, r"adapter_config\.json: use_dora is True"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\]"),
        ({"bias": "all"}, "bias is 'all', only 'none'"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern is"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern is"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out is True"),
        ({"something_new": 3}, "something_new is 3"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which changes the base"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"r": 8}, "is not of rank 8"),
        ({"r": None}, "does not give r, lora_alpha"),
    ],
)
def test_settings_that_are_refused(tmp_path, write_model, trained, changes, message):
    folder, base = trained()
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ValueError, match=message):
        convert_adapter(folder, tmp_path / "out", base=str(base))
    assert not (tmp_path / "out").exists()


def test_folders_that_are_refused(tmp_path, write_model, trained, run_convert):
    folder, merged = trained()
    path = folder / "adapter_model.safetensors"
    base = write_model("base", language_model())
    whole = load_file(path)
    names = sorted(whole)
    tower = "base_model.model.model.vision_tower.vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.lora_"
    for tensors, message in (
        ({**whole, "base_model.model.model.embed_tokens.weight": torch.ones(2, 2)}, "1 tensors are no factors"),
        ({name: whole[name] for name in names[1:]}, "has a factor B, but no A"),
        ({**whole, f"{tower}A.weight": torch.ones(4, 64), f"{tower}B.weight": torch.ones(64, 4)}, "for other layers"),
    ):
        save_file(tensors, path)
        with pytest.raises(ValueError, match=message):
            convert_adapter(folder, tmp_path / "out", base=str(merged))
    save_file(whole, path)
    for open_it in (load, load_adapter):
        with pytest.raises(ValueError, match=r"python -m recipes\.convert .*lora NEW_FOLDER --base BASE"):
            open_it(folder)
    assert "trained on None: give that model as --base" in run_convert(folder, tmp_path / "out")
    torch.save(projector(1), folder / "more.bin")
    assert "weights of unknown use besides the adapters: more.bin" in run_convert(
        folder, tmp_path / "out", "--base", base
    )
    (folder / "more.bin").unlink()
    (folder / "non_lora_trainables.bin").unlink()
    assert "has a projector" in run_convert(folder, tmp_path / "out", "--base", base)
    (folder / "config.json").unlink()
    assert "is a language model alone, and the adapters' folder has no config.json" in run_convert(
        folder, tmp_path / "out", "--base", base
    )
    assert "only adapters have a base" in run_convert(base, tmp_path / "out", "--base", base)
    assert not (tmp_path / "out").exists()

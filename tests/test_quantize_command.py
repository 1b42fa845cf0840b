"""A checkpoint quantised by the command answers, and is used in training, like any other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, VisionLanguageModel, answer, byte_tokenizer, llama, load, save
from foveal.models.language_models.quantize import quantize, recorded_kind

ROOT = Path(__file__).parent.parent


def checkpoint(folder):
    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 24, 8, 64, layers=(-1,)),
        MlpProjector,
        llama(260, width=64, depth=2, heads=4, mlp_width=192),
        byte_tokenizer(),
        PadToSquare(64),
        system="",
    )
    for weight in model.language_model.parameters():
        nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.15)
    return model.eval(), save(model, folder)


def run(*words, code=0):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_a_checkpoint_becomes_a_quantised_one(tmp_path):
    model, folder = checkpoint(tmp_path / "plain")
    done = run("recipes.quantize", folder, tmp_path / "small")
    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert said[0] == "14 layers as nf4-dq:"
    assert "  language_model.model.layers.*.self_attn.q_proj" in said
    assert len(said) == 9
    quantize(model.language_model, "nf4-dq")
    again = load(tmp_path / "small")
    ours, theirs = again.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    picture.save(tmp_path / "picture.png")
    asked = run(
        "recipes.predict", tmp_path / "small", "--image", tmp_path / "picture.png", "--question", "What?",
        "--max_new_tokens", 8, "--device", "cpu",
    )  # fmt: skip
    assert asked.stderr == ""
    assert asked.stdout.strip() == answer(model, [picture], "What?", max_new_tokens=8).strip()


@pytest.mark.slow
def test_what_cannot_be_quantised(tmp_path):
    model, folder = checkpoint(tmp_path / "plain")
    assert "exists" in run("recipes.quantize", folder, folder, code=2).stderr
    assert "there is no folder" in run("recipes.quantize", tmp_path / "none", tmp_path / "out", code=1).stderr
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "manifest.yaml").touch()
    assert "python -m recipes.merge" in run("recipes.quantize", tmp_path / "adapter", tmp_path / "out", code=2).stderr
    quantize(model.language_model, "int8")
    save(model, tmp_path / "int8")
    done = run("recipes.quantize", tmp_path / "int8", tmp_path / "out", code=1)
    assert "is quantised already, as int8" in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert not (tmp_path / "out").exists()


BRIEF = [
    "--data.pages=12",
    "--data.val_pages=4",
    "--data.batch_size=2",
    "--data.workers=0",
    "--trainer.accelerator=cpu",
    "--trainer.max_steps=2",
    "--trainer.val_check_interval=null",
    "--controls=false",
    "--model.optimizer=adamw",
]


@pytest.mark.slow
@pytest.mark.parametrize(("overlay", "from_checkpoint"), [("nf4", False), ("nf4_checkpoint", False), ("nf4", True)])
def test_the_overlays_train_beside_a_quantised_decoder(overlay, from_checkpoint, tmp_path):
    _, folder = checkpoint(tmp_path / "plain")
    network = {
        "nf4": {
            "language_model": {
                "class_path": "foveal.models.pretrained_language_model",
                "init_args": {"name_or_folder": str(folder / "language_model")},
            }
        },
        "nf4_checkpoint": {"class_path": "foveal.models.load", "init_args": {"folder": str(folder)}},
    }[overlay]
    (tmp_path / "method.yaml").write_text(yaml.safe_dump({"model": {"network": network}}))
    place = f"--checkpoint={folder}" if from_checkpoint else f"--config={tmp_path / 'method.yaml'}"
    run(
        "recipes.fit", "--config=llava.yaml", place, f"--config=quant/{overlay}.yaml",
        f"--run={tmp_path / 'runs' / 'one'}", *BRIEF,
    )  # fmt: skip
    (trained,) = tmp_path.glob("runs/**/checkpoint")
    assert recorded_kind(load(trained).language_model.config) == "nf4-dq"
    before, after = (json.loads((each / "language_model" / "config.json").read_text()) for each in (folder, trained))
    assert "quantization_config" not in before
    assert after["quantization_config"]["bnb_4bit_use_double_quant"] is True
    fresh = load(folder, quantize="nf4-dq").language_model.state_dict()
    kept = load(trained).language_model.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in fresh.items())

"""Every shipped method as a user runs it: trained on receipts, saved, asked; and Vary's vocabulary passed on."""

import pytest
from safetensors.torch import load_file

from recipes.command_line.configurations import shipped_methods

BRIEF = [
    "--data.batch_size=2",
    "--data.workers=0",
    "--trainer.accelerator=cpu",
    "--trainer.max_steps=2",
    "--trainer.val_check_interval=null",
    "--controls=false",
]


@pytest.mark.slow
@pytest.mark.parametrize("method", shipped_methods())
def test_receipts(command, receipts, tmp_path, method):
    # Vary-tiny answers no questions, it only reads.
    train, validation = ("pages.json", "pages.json") if method == "vary_tiny" else ("train.json", "val.json")
    data = ["--data.path", receipts / train, "--data.val_path", receipts / validation, "--data.val_limit=2"]
    data += ["--data.images", receipts, "--data.val_images", receipts, "--model.max_new_tokens=4"]
    done = command("fit", "--config", f"{method}.yaml", "--config", "data/llava.yaml", *data, *BRIEF)
    for noise in ("Warning", "Tip", "GPU available"):
        assert noise not in done.stdout + done.stderr
    checkpoint = tmp_path / "runs" / method / "version_0" / "checkpoint"
    image = next((receipts / "images").iterdir())
    asked = ["--image", image, "--question", "What is the total amount?", "--max_new_tokens", "4"]
    answered = command("predict", checkpoint, *asked)
    assert answered.stderr == ""
    assert answered.stdout.endswith("\n")


@pytest.mark.slow
def test_vary_takes_over_what_vary_tiny_has_learnt(command, tmp_path):
    brief = [*BRIEF, "--data.pages=12", "--data.val_pages=2"]
    command("fit", "--config", "vary_tiny.yaml", *brief)
    command("fit", "--config", "vary.yaml", "--config", "vary/from_tiny.yaml", *brief)
    learnt = load_file(tmp_path / "runs" / "vary_tiny" / "version_0" / "checkpoint" / "encoder.safetensors")
    taken = load_file(tmp_path / "runs" / "vary" / "version_0" / "checkpoint" / "encoder.safetensors")
    assert all(bool((taken[f"encoders.1.{name}"] == value).all()) for name, value in learnt.items())
    assert len(taken) > len(learnt)

"""Every shipped method as a user runs it: trained on receipts, saved, asked; and Vary's vocabulary handed on."""

import json

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


@pytest.fixture
def pages(shared, tmp_path):
    """Receipts with all of their text as the answer, for a model that only reads."""
    annotations = json.loads((shared / "data" / "receipts" / "train_annotations.json").read_text())
    records = [
        {
            "id": receipt["id"],
            "image": receipt["image"],
            "conversations": [
                {"from": "human", "value": "<image>"},
                {"from": "gpt", "value": "\n".join(line["text"] for line in receipt["lines"])},
            ],
        }
        for receipt in annotations[:8]
    ]
    path = tmp_path / "pages.json"
    path.write_text(json.dumps(records))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("method", shipped_methods())
def test_receipts(command, shared, pages, tmp_path, method):
    receipts = shared / "data" / "receipts"
    train, validation = (receipts / "train.json", receipts / "val.json") if method != "vary_tiny" else (pages, pages)
    data = ["--data.path", train, "--data.val_path", validation, "--data.val_limit=2", "--model.max_new_tokens=4"]
    data += ["--data.images", receipts, "--data.val_images", receipts]
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

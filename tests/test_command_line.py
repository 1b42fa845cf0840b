"""The commands as processes: from training to answers, and errors."""

import json

import pytest
import yaml
from PIL import Image

from recipes.data.pages import PageSettings, draw_page


@pytest.fixture
def fitted(command, tmp_path):
    done = command("fit", "--config", "uhd.yaml", tiny=True)
    return done, tmp_path / "runs" / "uhd" / "version_0"


def test_from_training_to_an_answer(command, fitted, tmp_path):
    done, folder = fitted
    for word in ("ANLS", "trained, blank pictures", "before training", "checkpoint: runs/uhd/version_0/checkpoint"):
        assert word in done.stdout
    for noise in ("Warning", "Tip", "GPU available", "LeafSpec"):
        assert noise not in done.stdout + done.stderr
    assert {"checkpoint", "config.yaml", "loss.png", "metrics.csv", "predictions.png"} <= {
        path.name for path in folder.iterdir()
    }
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["max_steps"] == 3

    draw_page(PageSettings(), 0, 0).image.save(tmp_path / "page.png")
    answered = command("predict", folder, "--image", "page.png", "--question", "Read.")
    assert answered.stderr == f"{folder} is a run: its checkpoint is used\n"
    assert answered.stdout.endswith("\n")

    questions = [{"id": 7, "image": "page.png", "question": "Read."}, {"question": "Hello?"}]
    (tmp_path / "questions.jsonl").write_text("\n".join(json.dumps(question) for question in questions))
    command(
        "predict",
        folder / "checkpoint",
        "--data",
        "questions.jsonl",
        "--output",
        "answers.jsonl",
        "--max_new_tokens",
        "4",
    )
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [answer["id"] for answer in answers] == ["7", "2"]
    assert all(isinstance(answer["answer"], str) for answer in answers)
    whole = (tmp_path / "answers.jsonl").read_bytes()
    (tmp_path / "answers.jsonl").write_bytes(whole[:-5])
    again = ("--data", "questions.jsonl", "--output", "answers.jsonl", "--max_new_tokens", "4")
    command("predict", folder / "checkpoint", *again)
    assert (tmp_path / "answers.jsonl").read_bytes() == whole
    assert "has all answers already" in command("predict", folder / "checkpoint", *again).stderr

    measured = command("validate", folder, "--config=uhd.yaml", "--data.val_pages=4", "--trainer.accelerator=cpu")
    assert f"{folder} is a run: its checkpoint is used" in measured.stderr
    assert "character error rate" in measured.stdout


@pytest.mark.slow
def test_receipts(command, receipts, tmp_path):
    command(
        "fit",
        *("--config", "uhd.yaml", "--config", "data/llava.yaml"),
        *("--data.path", receipts / "train.json", "--data.val_path", receipts / "val.json", "--data.val_limit=4"),
        *("--data.batch_size=2", "--data.workers=1"),
        *("--trainer.accelerator=cpu", "--trainer.max_steps=3", "--trainer.val_check_interval=null"),
    )
    checkpoint = tmp_path / "runs" / "uhd" / "version_0" / "checkpoint"
    image = next((receipts / "images").iterdir())
    asked = ("--image", image, "--question", "What is the total amount?", "--max_new_tokens", "4")
    command("predict", "--checkpoint", checkpoint, *asked)
    only = ("--data.val_path", receipts / "val.json", "--data.val_limit=4", "--trainer.accelerator=cpu")
    measured = command("validate", checkpoint, "--config=uhd.yaml", "--config=data/llava.yaml", *only)
    assert "ANLS" in measured.stdout


@pytest.mark.slow
def test_resuming_is_as_if_nothing_had_happened(command, tmp_path):
    (tmp_path / "often.yaml").write_text(yaml.safe_dump({"states": {"every_steps": 3, "keep": 9}}))
    arguments = ["--config", "uhd.yaml", "--config", "often.yaml", "--controls=false", "--data.workers=1"]
    steps = ["--data.pages=12", "--data.val_pages=2", "--data.batch_size=2", "--trainer.accelerator=cpu"]
    steps += ["--trainer.max_steps=6", "--trainer.val_check_interval=null"]
    command("fit", *arguments, *steps)
    first, second = tmp_path / "runs" / "uhd" / "version_0", tmp_path / "again"
    command("fit", *arguments, *steps, "--ckpt_path", first / "states" / "step-00000003", "--run", second)
    for part in ("encoder.safetensors", "connector.safetensors", "language_model/model.safetensors"):
        assert (first / "checkpoint" / part).read_bytes() == (second / "checkpoint" / part).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["llava", "uhd"])
def test_published_sizes_and_stages_are_understood(command, method, tmp_path):
    """Only parsed: neither the weights nor the GPUs are here."""
    size = "llava/7b.yaml" if method == "llava" else "uhd/13b.yaml"
    data = ["--data.path", "train.json"]
    command(
        "fit",
        "--config",
        f"{method}.yaml",
        "--config",
        size,
        "--config",
        f"{method}/pretrain.yaml",
        *data,
        "--print_config",
    )
    stage = ["--config", f"{method}.yaml", "--config", size, "--config", f"{method}/finetune.yaml", *data]
    printed = command("fit", *stage, "--model.network.folder", "there", "--print_config").stdout
    network = yaml.safe_load(printed)["model"]["network"]
    assert network["class_path"] == "foveal.models.load"
    assert network["init_args"]["folder"] == "there"


MINE = """
extends: laptop
model:
  network:
    encoder:
      class_path: foveal.encoders.VisionTransformer
      init_args: {width: 96, depth: 2, heads: 3, mlp_width: 288, patch_size: 8, image_size: 64, layers: [-1]}
    connector: {class_path: foveal.connectors.MlpProjector}
    plan: plan.yaml
"""
PLAN = "class_path: foveal.models.PadToSquare\ninit_args: {size: 64}\n"


@pytest.mark.slow
def test_a_method_of_ones_own_extends_the_laptop(command, tmp_path):
    """It trains on the built-in pages, files are found next to it, and the saved configuration extends nothing."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "mine.yaml").write_text(MINE)
    (tmp_path / "methods" / "plan.yaml").write_text(PLAN)
    command("fit", "--config", "methods/mine.yaml", tiny=True)
    saved = yaml.safe_load((tmp_path / "runs" / "mine" / "version_0" / "config.yaml").read_text())
    assert "extends" not in saved
    assert saved["data"]["class_path"] == "recipes.data.PagesData"
    assert saved["model"]["network"]["init_args"]["plan"]["init_args"]["size"] == 64
    again = ("--config", "runs/mine/version_0/config.yaml", "--run", "again")
    command("fit", *again)
    (tmp_path / "included.yaml").write_text("config: methods/mine.yaml\n")
    assert "mine.yaml: name a file that extends others with --config" in short(
        command("fit", "--config", "included.yaml", code=2)
    )


def short(done):
    assert len(done.stderr.splitlines()) <= 10
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "uhd.yaml", "--model.network.connector.querys=4"], ["querys"]),
        (["--config", "uhd.yaml", "--model.conector_lr=1"], ["conector_lr"]),
        (["--config", "uhdd.yaml"], ["uhdd.yaml", "uhd.yaml"]),
        (["--config", "uhd.yaml", "--data", "os.system"], ["os.system", "--allow_import"]),
    ],
)
def test_wrong_usage(command, arguments, words):
    message = short(command("fit", *arguments, code=2))
    assert all(word in message for word in words), message


def test_input_that_cannot_be_used(command, tmp_path):
    (tmp_path / "bad.json").write_text('[{"id": "a", "image": "none.png", "conversations": []}]')
    message = short(
        command("fit", "--config", "uhd.yaml", "--config", "data/llava.yaml", "--data.path", "bad.json", code=1)
    )
    assert "bad.json, record 1 (id a)" in message
    message = short(command("predict", "nowhere", "--question", "What?", code=1))
    assert "there is no folder nowhere" in message
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    message = short(command("predict", "nowhere", "--image", "a.png", code=2))
    assert "either --question" in message

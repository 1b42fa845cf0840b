"""Every precision trains or is refused before anything is read; and where a run's files go."""

import csv

import pytest
import torch
from tests.fitting import SMALL

from foveal.models import load

PRECISIONS = [
    "bf16-true",
    *(pytest.param(precision, marks=pytest.mark.slow) for precision in ("32-true", "bf16-mixed", "64-true")),
]


NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="16-mixed runs on a GPU")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_precisions_that_run(fit, tmp_path, precision):
    two = ("--data.pages=4", "--trainer.max_epochs=1", "--run=run", "--trainer.gradient_clip_val=1.0")
    assert fit(*SMALL, *two, f"--trainer.precision={precision}", "--states.every_steps=1") == 0
    with (tmp_path / "run" / "metrics.csv").open() as stream:
        losses = [float(row["train/loss"]) for row in csv.DictReader(stream) if row["train/loss"]]
    assert len(losses) == 2
    assert all(3 < loss < 8 for loss in losses)
    stored = load(tmp_path / "run" / "checkpoint").connector.state_dict().values()
    wanted = {"bf16-true": torch.bfloat16, "64-true": torch.float64}.get(precision, torch.float32)
    assert {tensor.dtype for tensor in stored if tensor.is_floating_point()} == {wanted}
    more = ("--trainer.max_epochs=2", "--ckpt_path=run")
    assert fit(*SMALL, *two, f"--trainer.precision={precision}", *more) == 0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("--trainer.precision=16-true", "use bf16-true"),
        pytest.param("--trainer.precision=16-mixed", "needs a GPU", marks=NO_GPU),
        ("--trainer.strategy=fsdp", "scale/fsdp.yaml"),
        ("--trainer.callbacks+=lightning.pytorch.callbacks.ModelCheckpoint", "--states.every_steps"),
        ("--trainer.callbacks+=lightning.pytorch.callbacks.EMAWeightAveraging", "exchanges the weights"),
        ("--trainer.strategy=deepspeed_stage_2", "scale/fsdp.yaml"),
    ],
)
def test_what_would_go_wrong_is_refused(fit, tmp_path, capsys, setting, words):
    nothing_there = ("--config=data/llava.yaml", "--data.path=nowhere.json")
    assert fit("--config=uhd.yaml", *nothing_there, setting) == 1
    message = capsys.readouterr().err
    assert words in message
    assert "nowhere" not in message
    assert len(message.splitlines()) <= 4
    assert not list(tmp_path.iterdir())


def test_where_a_run_goes(fit, tmp_path):
    brief = (*SMALL, "--data.pages=2", "--trainer.max_epochs=1", "--trainer.enable_model_summary=false")
    assert fit(*brief, "--trainer.default_root_dir=elsewhere", "--trainer.logger=false") == 0
    assert fit(*brief, "--trainer.default_root_dir=elsewhere", "--trainer.logger=false") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere"}
    for version in ("version_0", "version_1"):
        names = {path.name for path in (tmp_path / "elsewhere" / "uhd" / version).iterdir()}
        assert names == {"checkpoint", "config.yaml", "predictions.png", "states", "run.log"}
    assert "attention" in (tmp_path / "elsewhere/uhd/version_0/run.log").read_text()


@pytest.mark.parametrize(
    "settings",
    [
        ("--trainer.fast_dev_run=true",),
        ("--data.val_pages=0",),
        ("--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping", "--trainer.callbacks.monitor=val/anls"),
    ],
)
def test_settings_of_lightning_that_people_use(fit, settings):
    assert fit(*SMALL, "--data.pages=4", *settings) == 0


def test_callbacks_that_begin_anew_are_named(fit, tmp_path):
    stopping = ("--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping", "--trainer.callbacks.monitor=val/cer")
    brief = (*SMALL, "--data.pages=4", *stopping, "--run=run")
    assert fit(*brief, "--trainer.max_epochs=1") == 0
    assert fit(*brief, "--trainer.max_epochs=2", "--ckpt_path=last") == 0
    log = (tmp_path / "run" / "run.log").read_text()
    assert log.count("EarlyStopping: training states do not hold what callbacks remember") == 1


def test_settings_that_the_trainer_refuses_are_said_in_short(fit, capsys):
    assert fit(*SMALL, "--data.pages=4", "--trainer.max_steps=-5") == 1
    assert "the Trainer refuses its settings" in capsys.readouterr().err


def test_a_time_limit_ends_with_a_state_and_a_checkpoint(fit, tmp_path):
    assert fit(*SMALL, "--data.pages=100000", "--trainer.max_time=00:00:00:03", "--run=run") == 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"checkpoint", "states", "loss.png"} <= names

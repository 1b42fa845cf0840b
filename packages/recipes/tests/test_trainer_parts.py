"""Configured callbacks and loggers together with those of every run; loggers in the run's folder."""

import lightning.pytorch as pl
import pytest
import yaml
from lightning.pytorch.callbacks import LearningRateMonitor, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger

from recipes.command_line.arguments import prepare
from recipes.command_line.configurations import CONFIGS
from recipes.commands.fit import FitCommand
from recipes.commands.lightning_cli import run
from recipes.progress.line import ProgressLine
from recipes.run.loggers import place_loggers, wandb_run_in
from recipes.run.metrics_csv import MetricsCsv
from recipes.trainer.parts import callbacks_with, loggers_with

TENSORBOARD, WANDB, CSV = (
    f"lightning.pytorch.loggers.{name}" for name in ("TensorBoardLogger", "WandbLogger", "CSVLogger")
)


def trainer(tmp_path, configured, *, progress_bar):
    ours = [ProgressLine(), LearningRateMonitor()]
    callbacks = callbacks_with(ours, configured, progress_bar=progress_bar)
    made = pl.Trainer(
        accelerator="cpu",
        callbacks=callbacks,
        enable_progress_bar=progress_bar,
        enable_checkpointing=False,
        enable_model_summary=False,
        logger=False,
        default_root_dir=tmp_path,
    )
    assert sum(isinstance(callback, LearningRateMonitor) for callback in made.callbacks) == 1
    return made


@pytest.mark.parametrize("wrap", [list, tuple, lambda callbacks: callbacks[0]])
def test_a_bar_of_ones_own_takes_the_place_of_ours(tmp_path, wrap):
    theirs = TQDMProgressBar()
    assert trainer(tmp_path, wrap([theirs]), progress_bar=True).progress_bar_callback is theirs
    assert trainer(tmp_path, wrap([theirs]), progress_bar=False).progress_bar_callback is None


def test_without_anything(tmp_path):
    assert isinstance(trainer(tmp_path, None, progress_bar=True).progress_bar_callback, ProgressLine)
    assert trainer(tmp_path, None, progress_bar=False).progress_bar_callback is None


def test_loggers(tmp_path):
    ours, theirs = MetricsCsv(tmp_path), CSVLogger(tmp_path)
    assert loggers_with(ours, None) == loggers_with(ours, True) == [ours]
    assert loggers_with(ours, False) == []
    assert loggers_with(ours, theirs) == [ours, theirs]
    assert loggers_with(ours, [theirs, theirs]) == [ours, theirs, theirs]


def described(path, **settings):
    return {"class_path": path, "init_args": {"save_dir": ".", "name": None, "version": None, "id": None} | settings}


def test_all_loggers_get_the_runs_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.run.loggers.find_spec", lambda name: object())
    folder = tmp_path / "runs" / "uhd-3"
    others = described("lightning.pytorch.loggers.MLFlowLogger")
    loggers = place_loggers([described(CSV), described(TENSORBOARD), described(WANDB), others], folder)
    assert [logger["class_path"].rpartition(".")[2] for logger in loggers] == [
        "TensorBoardLogger",
        "WandbLogger",
        "MLFlowLogger",
    ]
    assert all(logger["init_args"]["save_dir"] == str(folder) for logger in loggers)
    assert loggers[0]["init_args"]["version"] == "tensorboard"
    assert loggers[1]["init_args"]["name"] == "runs/uhd-3"
    assert place_loggers(described(WANDB, name="mine"), folder)[0]["init_args"]["name"] == "mine"
    assert place_loggers(False, folder) is False
    assert place_loggers(None, folder) == []


def test_a_run_goes_on_in_wandb(tmp_path):
    assert wandb_run_in(tmp_path) is None
    (tmp_path / "wandb").mkdir()
    latest = tmp_path / "wandb" / "latest-run"
    for name in ("run-20260101_120000-a1b2c3d4", "offline-run-20260101_120000-my-id"):
        latest.unlink(missing_ok=True)
        latest.symlink_to(name)
        assert wandb_run_in(tmp_path) == name.removeprefix("offline-").split("-", 2)[2]


@pytest.mark.parametrize(("path", "extra"), [(TENSORBOARD, "tensorboard"), (WANDB, "wandb")])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, path, extra):
    monkeypatch.setattr("recipes.run.loggers.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=rf"pip install 'foveal-recipes\[{extra}\]'"):
        place_loggers(described(path), tmp_path)


def test_it_leaves_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("recipes.run.loggers.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run(FitCommand, "fit", prepare(["--config=uhd.yaml", "--config=log/tensorboard.yaml", "--run=run"]))
    assert "pip install 'foveal-recipes[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_wandb_stays_on_the_machine_by_default():
    overlay = yaml.safe_load((CONFIGS / "extras" / "log" / "wandb.yaml").read_text())
    assert overlay["trainer"]["logger+"]["init_args"]["offline"] is True


def test_tensorboard_writes_into_the_folder(tmp_path):
    pytest.importorskip("tensorboard")
    loggers = pytest.importorskip("lightning.pytorch.loggers")
    (placed,) = place_loggers(described(TENSORBOARD) | {"init_args": {"save_dir": "."}}, tmp_path / "run")
    logger = loggers.TensorBoardLogger(**placed["init_args"])
    logger.log_metrics({"train/loss": 1.0}, step=0)
    logger.finalize("success")
    (events,) = (tmp_path / "run").rglob("events.*")
    assert events.parent == tmp_path / "run" / "tensorboard"

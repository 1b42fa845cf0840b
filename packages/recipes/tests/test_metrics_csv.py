"""metrics.csv: rows, new columns, crashes, and resuming."""

import csv

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from recipes.run.metrics_csv import MetricsCsv
from recipes.run.rows import read_rows


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_and_later_columns(tmp_path):
    logger = MetricsCsv(tmp_path / "run")
    logger.log_metrics({"train/loss": 2.0, "epoch": 0}, step=0)
    logger.log_metrics({"val/anls": 0.5, "epoch": 0}, step=0)
    logger.log_metrics({"train/loss": 1.0, "epoch": 1}, step=1)
    text = (tmp_path / "run" / "metrics.csv").read_text()
    assert text == "step,epoch,train/loss,val/anls\n0,0,2.0,\n0,0,,0.5\n1,1,1.0,\n"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.csv"]


def test_another_runs_table_is_not_touched(tmp_path):
    (tmp_path / "metrics.csv").write_text("step\n1\n")
    with pytest.raises(FileExistsError, match="belongs to another run"):
        MetricsCsv(tmp_path).log_metrics({"train/loss": 2.0}, step=0)
    assert (tmp_path / "metrics.csv").read_text() == "step\n1\n"


@pytest.mark.parametrize("torn", ["", "3", "3,0,", "3,0,0.1234"])
def test_going_on_drops_later_rows_and_a_torn_one(tmp_path, torn):
    before = MetricsCsv(tmp_path)
    for step in range(3):
        before.log_metrics({"train/loss": float(step), "epoch": 0}, step=step)
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text() + torn)
    again = MetricsCsv(tmp_path)
    again.resume_from(2)
    again.log_metrics({"train/loss": 7.0, "epoch": 0}, step=2)
    again.log_metrics({"val/anls": 1.0}, step=2)
    assert [(row["step"], row["train/loss"], row["val/anls"]) for row in table(path)] == [
        ("0", "0.0", ""),
        ("1", "1.0", ""),
        ("2", "7.0", ""),
        ("2", "", "1.0"),
    ]


def test_a_torn_header_and_no_file(tmp_path):
    for text in (None, "", "step,ep"):
        if text is not None:
            (tmp_path / "metrics.csv").write_text(text)
        logger = MetricsCsv(tmp_path)
        logger.resume_from(5)
        logger.log_metrics({"train/loss": 1.0}, step=5)
        assert table(tmp_path / "metrics.csv") == [{"step": "5", "epoch": "", "train/loss": "1.0"}]


def test_a_foreign_file_is_named(tmp_path):
    (tmp_path / "metrics.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"metrics\.csv is not a table"):
        MetricsCsv(tmp_path).resume_from(5)


def test_a_crash_while_columns_are_added_leaves_the_old_table(tmp_path, monkeypatch):
    logger = MetricsCsv(tmp_path)
    logger.log_metrics({"train/loss": 1.0}, step=0)

    def crash(*paths):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(OSError, match="no space"):
        logger.log_metrics({"val/anls": 1.0}, step=0)
    assert read_rows(tmp_path / "metrics.csv")[1] == [{"step": "0", "epoch": "", "train/loss": "1.0"}]


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.utilities.rank_zero_only.rank", 1)
    MetricsCsv(tmp_path / "run").log_metrics({"train/loss": 1.0}, step=0)
    assert not (tmp_path / "run").exists()


class Line(pl.LightningModule):
    """Fits a line; stops with an error at a step."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.layer, self.fails_at = torch.nn.Linear(1, 1), fails_at

    def training_step(self, batch, batch_idx):
        if self.global_step == self.fails_at:
            raise RuntimeError("on purpose")
        loss = self.layer(batch).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/anls", 0.5)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_fails_and_goes_on_has_one_curve(tmp_path, quiet_trainer):
    data = DataLoader(torch.ones(6, 1))

    def trainer(logger):
        states = ModelCheckpoint(every_n_train_steps=2, save_top_k=-1, filename="{step}")
        options = {"log_every_n_steps": 1, "max_steps": 6, "num_sanity_val_steps": 0, "enable_checkpointing": True}
        return quiet_trainer(logger=logger, callbacks=[states], **options)

    whole = tmp_path / "whole"
    trainer(MetricsCsv(whole)).fit(Line(), data, data)
    failing = trainer(MetricsCsv(tmp_path / "run"))
    assert failing.log_dir == str(tmp_path / "run")
    with pytest.raises(RuntimeError, match="on purpose"):
        failing.fit(Line(fails_at=5), data, data)
    assert [row["step"] for row in table(tmp_path / "run" / "metrics.csv")] == ["0", "1", "2", "3", "4"]
    again = MetricsCsv(tmp_path / "run")
    again.resume_from(4)
    trainer(again).fit(Line(), data, data, ckpt_path=tmp_path / "run" / "checkpoints" / "step=4.ckpt")
    resumed, straight = table(tmp_path / "run" / "metrics.csv"), table(whole / "metrics.csv")
    assert [(row["step"], row["val/anls"]) for row in resumed] == [(row["step"], row["val/anls"]) for row in straight]

"""The progress line."""

import io
import math
import re

import lightning.pytorch as pl
import pytest
import torch
from rich.console import Console
from torch.utils.data import DataLoader

from recipes.progress import live_line
from recipes.progress.counted import CountedLine
from recipes.progress.line import ProgressLine
from recipes.progress.words import duration, progress_line, short

VALUES = {"loss": 0.12345, "samples/s": 1234.5, "ANLS": 0.873}


@pytest.mark.parametrize("width", [0, 1, 10, 20, 40, 60, 79, 119])
def test_it_never_gets_longer_than_the_terminal(width):
    for total in (1800, 1_000_000_000, math.inf):
        assert len(progress_line(1200, total, 12345.0, VALUES, width=width)) <= width


def test_what_it_says():
    line = progress_line(1200, 1800, 754, VALUES, width=79)
    assert line.endswith("1200/1800 · 12:34 left · loss 0.123 · samples/s 1234 · ANLS 0.873")
    assert line.startswith("━" * 9 + "─" * 4 + " ")
    assert progress_line(3, math.inf, None, {}, width=79, what="step ") == "step 3"
    assert progress_line(1200, 1800, 754, VALUES, width=40, bar=False) == "1200/1800 · 12:34 left · loss 0.123"


def test_numbers():
    assert [duration(seconds) for seconds in (7, 754, 7384, 273_900)] == ["0:07", "12:34", "2:03:04", "3 d 04:05"]
    assert [short(value) for value in (0.0, 0.05, 12.34, 123.4, 2e6)] == ["0", "0.05", "12.3", "123", "2e+06"]


class Module(pl.LightningModule):
    """Trains, validates, and logs something to show."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).square().mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/anls", 0.5, prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def written(tmp_path, terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, height=30, legacy_windows=False)
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=[ProgressLine(console)],
        enable_checkpointing=False,
        enable_model_summary=False,
        logger=False,
        max_epochs=2,
        num_sanity_val_steps=1,
        default_root_dir=tmp_path,
    )
    data = DataLoader(torch.ones(3, 1))
    module = Module()
    trainer.validate(module, data, verbose=False)
    trainer.fit(module, data, data)
    return console.file.getvalue()


@pytest.mark.filterwarnings("ignore")
def test_in_a_file_it_is_a_line_after_each_validation(tmp_path):
    lines = written(tmp_path, terminal=False).splitlines()
    assert [line.split(" · ")[0] for line in lines] == ["step 3/6", "step 6/6"]
    assert lines[1].endswith("ANLS 0.5")


@pytest.mark.filterwarnings("ignore")
def test_on_a_terminal_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.progress.live_line.BETWEEN_LOOKS", 0.0)
    text = written(tmp_path, terminal=True)
    assert "Epoch" not in text
    assert "v_num" not in text
    assert "validating 3/3" in text
    assert re.search(r"6/6 · 0:00 left · loss \S+ · ANLS 0\.5", text)
    # One line feed at the end of each of the two runs' lines, none in between: every update overwrites the last one.
    assert text.count("\n") == 2
    shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", part) for part in re.split(r"[\r\n]", text)]
    assert max(map(len, shown)) <= 79


def test_what_is_skipped_says_nothing_about_the_time_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    line = CountedLine("pages read", 10)
    line.skip(4)
    now[0] = live_line.BETWEEN_LINES
    line.add(2)
    line.close()
    assert capsys.readouterr().err == "pages read 6/10 · 2:00 left\n"

"""`fit` in the test's own process: the same arguments, without the seconds that a process takes to start."""

import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

OWN = Path(__file__).parent / "own"

SMALL = (
    "--config=uhd.yaml",
    "--controls=false",
    "--data.val_pages=3",
    "--data.batch_size=2",
    "--trainer.accelerator=cpu",
    "--trainer.log_every_n_steps=1",
    "--trainer.val_check_interval=1.0",
    "--trainer.enable_progress_bar=false",
    "--trainer.max_epochs=3",
)
SEEN = ("--allow_import=seen", "--trainer.callbacks+=seen.Seen")


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """Runs `fit` with the given arguments in the test's own folder; returns its exit code."""
    from recipes.command_line.arguments import prepare
    from recipes.commands.fit import FitCommand
    from recipes.commands.lightning_cli import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(OWN)

    def fitted(*arguments):
        monkeypatch.setattr(sys, "argv", ["fit", *map(str, arguments)])
        try:
            run(FitCommand, "fit", prepare(sys.argv[1:]))
        except SystemExit as end:
            return end.code
        finally:
            torch.manual_seed(0)
            random.seed(0)
            np.random.seed(0)
        return 0

    return fitted


def seen(folder, ranks=1):
    """How often each (epoch, sample) was trained on."""
    lines = [line for rank in range(ranks) for line in (folder / f"seen.rank{rank}.txt").read_text().splitlines()]
    return Counter(lines)


def once_an_epoch(samples, epochs):
    """The value of `seen` if nothing is left out and nothing comes twice."""
    return Counter(f"{epoch} page {page}" for epoch in range(epochs) for page in range(samples))


def weights(run):
    """All bytes of a run's checkpoint."""
    return {path.name: path.read_bytes() for path in sorted((Path(run) / "checkpoint").rglob("*.safetensors"))}

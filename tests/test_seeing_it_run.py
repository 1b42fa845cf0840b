"""The progress line, other bars and loggers, as typed."""

import csv
from importlib.util import find_spec

import pytest

LATE = ("--controls=false", "--trainer.log_every_n_steps=1")
BAR = "--trainer.callbacks=lightning.pytorch.callbacks.TQDMProgressBar"


@pytest.mark.slow
@pytest.mark.parametrize("overlay", ["tensorboard", "wandb"])
def test_curves_are_in_the_runs_folder_and_the_table_too(command, tmp_path, overlay):
    if find_spec(overlay) is None:
        pytest.skip(f"needs foveal-recipes[{overlay}]")
    done = command("fit", "--config", "uhd.yaml", "--config", f"log/{overlay}.yaml", *LATE, tiny=True)
    (table,) = tmp_path.rglob("metrics.csv")
    assert any(
        path.name.startswith("events") or path.suffix == ".wandb" for path in (table.parent / overlay).rglob("*")
    )
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(float(row["speed/samples_per_second"]) > 0 for row in rows if row["train/loss"])
    assert "step 3/3" in done.stdout
    assert "Epoch" not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed",
    [
        ["--trainer.enable_progress_bar=false", "--trainer.logger=false"],
        [BAR],
        [BAR, "--trainer.enable_progress_bar=false"],
    ],
)
def test_other_bars_and_none(command, tmp_path, typed):
    done = command("fit", "--config", "uhd.yaml", *LATE, *typed, tiny=True)
    assert "step 3/3" not in done.stdout
    assert ("Epoch 0" in done.stdout) == (typed == [BAR])
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}

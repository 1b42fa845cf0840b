"""Training on packed rows, in whole runs of `fit`: the same losses, every sample once, resumed and on two ranks."""

import csv
import json
import os
import shutil
from collections import Counter

import pytest
from PIL import Image
from tests.fitting import OWN, SEEN, seen, weights

RUN = (
    *("--config=uhd.yaml", "--config=data/llava.yaml", "--config=pack.yaml", "--controls=false", "--run=run"),
    *("--data.path=train.json", "--data.workers=0", "--trainer.accelerator=cpu", "--model.network.max_length=240"),
    *("--trainer.log_every_n_steps=1", "--trainer.enable_progress_bar=false", "--trainer.max_epochs=2"),
)
ROWS = (*RUN, "--data.packed_length=300", "--data.batch_size=1")
COUNT = 14


@pytest.fixture
def data(tmp_path):
    """Fourteen records, of which every third has no picture, and one that is damaged after its header."""
    records = []
    for number in range(COUNT):
        size = (20 + 9 * (number % 4), 24 + 5 * (number % 3))
        Image.new("RGB", size, "gray").save(tmp_path / f"{number}.png")
        asked = [
            {"from": "human", "value": "What is it? " * (1 + number % 3)},
            {"from": "gpt", "value": "A picture. " * (1 + number % 5)},
        ]
        picture = {} if number % 3 == 0 else {"image": f"{number}.png"}
        records.append({"id": f"record {number}", **picture, "conversations": asked})
    (tmp_path / "train.json").write_text(json.dumps(records))
    return tmp_path


def losses(run):
    with (run / "metrics.csv").open() as stream:
        return [float(row["train/loss"]) for row in csv.DictReader(stream) if row.get("train/loss")]


def padding_shares(run):
    with (run / "metrics.csv").open() as stream:
        return [float(row["speed/padding_share"]) for row in csv.DictReader(stream) if row.get("speed/padding_share")]


def once(epochs=2, but=()):
    return Counter(
        f"{epoch} record {number}" for epoch in range(epochs) for number in range(COUNT) if number not in but
    )


def test_a_step_on_the_same_samples_has_the_same_loss(fit, data):
    assert fit(*RUN, "--data.packed_length=300", f"--data.batch_size={COUNT}", "--run=packed", *SEEN) == 0
    assert seen(data) == once()
    assert fit(*RUN, "--data.packed_length=null", f"--data.batch_size={COUNT}", "--run=padded") == 0
    packed, padded = losses(data / "packed"), losses(data / "padded")
    assert len(packed) == len(padded) == 2
    assert packed[0] == pytest.approx(padded[0], rel=1e-6)
    assert packed[1] == pytest.approx(padded[1], rel=1e-3)  # after an update, in float32


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--trainer.accumulate_grad_batches=2",)])
def test_a_resumed_run_is_the_one_that_was_not_interrupted(fit, data, options):
    assert fit(*ROWS, *options) == 0
    stopped = (*SEEN, "--trainer.callbacks.stop_at=[2]", "--run=resumed")
    assert fit(*ROWS, *options, *stopped) == 143
    assert fit(*ROWS, *options, *SEEN, "--run=resumed", "--ckpt_path=last") == 0
    assert seen(data) == once()
    assert weights(data / "resumed") == weights(data / "run")
    assert losses(data / "resumed") == losses(data / "run")
    shares = sorted(padding_shares(data / "run"))
    assert shares[len(shares) // 2] < 0.15


@pytest.mark.slow
def test_workers_make_the_same_batches(fit, data):
    assert fit(*ROWS) == 0
    assert fit(*ROWS, "--data.workers=2", "--run=workers") == 0
    assert losses(data / "workers") == losses(data / "run")
    assert weights(data / "workers") == weights(data / "run")


@pytest.mark.slow
def test_other_packs_are_not_resumed(fit, data, capsys):
    assert fit(*ROWS, *SEEN, "--trainer.callbacks.stop_at=[2]") == 143
    assert fit(*ROWS, "--data.packed_length=310", "--ckpt_path=last") == 1
    assert "resume with the same data" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_left_out_leaves_a_hole(fit, data):
    damaged = data / "4.png"
    Image.effect_noise((29, 29), 50).convert("RGB").save(damaged.with_suffix(".jpg"))
    damaged.write_bytes(damaged.with_suffix(".jpg").read_bytes()[:-300])
    assert fit(*ROWS, *SEEN, "--data.on_bad_sample=skip", "--data.max_bad=0.2") == 0
    assert seen(data) == once(but=(4,))
    assert "left out of train.json: record 5 (id record 4): " in (data / "run/run.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2])
def test_two_ranks_share_the_packs(command, data, batch_size):
    for path in OWN.glob("*.py"):
        shutil.copy(path, data)
    two = ("--trainer.devices=2", "--trainer.strategy=ddp", f"--data.batch_size={batch_size}")
    command("fit", *ROWS, *SEEN, *two)
    assert seen(data, ranks=2) == once()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler")
def test_with_compiled_layers(fit, data):
    low = ("--model.optimizer=adamw", "--model.language_model_lr=1e-4", "--model.connector_lr=1e-4")
    assert fit(*ROWS, *low) == 0
    assert fit(*ROWS, *low, "--model.compile_layers=true", "--run=compiled") == 0
    assert losses(data / "compiled") == pytest.approx(losses(data / "run"), rel=1e-4)
    assert losses(data / "compiled")[0] == pytest.approx(losses(data / "run")[0], rel=1e-6)


def test_a_row_that_is_too_short_is_refused(fit, data, capsys):
    assert fit(*RUN, "--data.packed_length=239") == 1
    assert "--data.packed_length is 239, but a sample may have 240 tokens" in capsys.readouterr().err

"""`fit` on several processes, started by itself, by torchrun, by SLURM, and on two machines."""

import csv
import os
import shutil
import socket
import subprocess
import sys

import pytest
from safetensors.torch import load_file
from tests.fitting import OWN, SEEN, SMALL, once_an_epoch, seen

from recipes.commands.merge_shards import merge

pytestmark = pytest.mark.slow

RATES = [f"--model.{part}_lr=1e-3" for part in ("encoder", "connector", "language_model")]
"""Low learning rates: AdamW's first steps are as large as the rate, even if the gradient is only rounding."""
ADAMW = (*SMALL, "--model.optimizer=adamw", *RATES)
TWO = ("--trainer.devices", "2")
FSDP = ("--config", "scale/fsdp.yaml")
SECONDS = 300
"""Time after which processes that wait for each other are ended."""


def started(folder, *words, **environment):
    """A process in a folder with custom callbacks."""
    for path in OWN.glob("*.py"):
        shutil.copy(path, folder)
    settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "120", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, words)],
        cwd=folder,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process, code=0):
    """The process's output; nothing on stderr, unless an exit code was expected."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == code, out[-3000:] + err[-3000:]
    assert code or err == ""
    return out, err


def finished_once(out, run):
    """Only the first process reports, and one checkpoint is left in one folder."""
    assert out.count("checkpoint:") == out.count("ANLS ┃") == 1
    assert [path.name for path in run.parent.iterdir() if (path / "config.yaml").exists()] == [run.name]
    assert not [path for path in run.rglob("*") if path.name.endswith((".partial", ".foveal-writing"))]
    return run


def column(run, name):
    with (run / "metrics.csv").open() as stream:
        return [float(row[name]) for row in csv.DictReader(stream) if row.get(name)]


def weights(run):
    files = (run / "checkpoint").rglob("*.safetensors")
    return {f"{path.name}/{name}": weight for path in files for name, weight in load_file(path).items()}


def largest_difference(run, other):
    ours, theirs = weights(run), weights(other)
    assert ours.keys() == theirs.keys()
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


ANSWERING = ("--allow_import=answering", "--trainer.callbacks+=answering.Answering")
ONE_EPOCH = (*ADAMW, *SEEN, *ANSWERING, "--data.pages=18", "--trainer.max_epochs=1")
"""Five steps of four pages, the last of two; five questions, which two ranks cannot share evenly."""
VALIDATED = ("--data.val_pages=5", "--data.val_batch_size=2")
TRAININGS = {
    "frozen": ("--model.encoder_lr=null", "--trainer.gradient_clip_val=0.05"),
    "whole": (),
    "halves": ("--trainer.precision=bf16-mixed",),
}


@pytest.mark.parametrize(
    ("training", "started_as", "tolerance"),
    [
        ("frozen", TWO, 1e-6),
        ("frozen", (*FSDP, *TWO), 1e-6),
        ("whole", ("--trainer.devices", "4", "--data.batch_size=1"), 1e-5),
        ("halves", ("--config", "scale/ddp.yaml", *TWO), 5e-3),
        ("halves", (*FSDP, *TWO), 5e-3),
    ],
)
def test_as_one_process_that_accumulates(fit, tmp_path, training, started_as, tolerance):
    settings = (*ONE_EPOCH, *VALIDATED, *TRAININGS[training])
    together = tmp_path / "together"
    together.mkdir()
    out, _ = ended(started(together, "recipes.fit", *settings, *started_as, "--run=run"))
    ranks = int(started_as[started_as.index("--trainer.devices") + 1])
    assert seen(together, ranks) == once_an_epoch(18, 1)
    run, alone = finished_once(out, together / "run"), tmp_path / "alone"
    assert fit(*settings, "--trainer.accumulate_grad_batches=2", "--run=alone") == 0
    assert column(run, "train/loss") == pytest.approx(column(alone, "train/loss"), rel=tolerance)
    assert len(column(run, "train/loss")) == 5
    assert largest_difference(run, alone) <= tolerance
    for score in ("val/anls", "val/exact", "val/cer"):
        assert column(run, score) == pytest.approx(column(alone, score), abs=1e-6)
    assert 0 < column(run, "val/exact")[0] < column(run, "val/anls")[0] < 1
    merged, written = merge(run)["checkpoint"], run / "checkpoint"
    for path in written.rglob("*"):
        assert path.is_dir() or (merged / path.relative_to(written)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("pages", "strategy"), [(9, ()), (12, FSDP)])
def test_stopped_in_every_epoch_and_resumed_on_other_ranks(fit, tmp_path, pages, strategy):
    settings = (*ADAMW, *SEEN, f"--data.pages={pages}")
    several, one = (*strategy, *TWO), "--trainer.accumulate_grad_batches=2"
    last = "--ckpt_path=last"

    def stop(step):
        return f"--trainer.callbacks.stop_at=[{step}]"

    for resumed, step in (((), 1), ((last,), 5)):
        process = started(tmp_path, "recipes.fit", *settings, *several, stop(step), *resumed)
        out, err = ended(process, 143)
        assert f"stopped by SIGTERM after step {step}; resume with --ckpt_path runs/uhd/version_0/states" in err
        assert len(err.strip().splitlines()) == 2
        assert "checkpoint:" not in out
    assert fit(*settings, one, stop(7), last) == 143
    out, _ = ended(started(tmp_path, "recipes.fit", *settings, *several, last))
    assert seen(tmp_path, 2) == once_an_epoch(pages, 3)
    run = finished_once(out, tmp_path / "runs" / "uhd" / "version_0")
    assert len(column(run, "train/loss")) == 9
    assert len(column(run, "val/anls")) == 3
    # All ranks refuse, one reports.
    refused = started(tmp_path, "recipes.fit", *settings, *several, "--model.optimizer=muon", last)
    assert "optimizer adamw, this run has muon" in (err := ended(refused, 1)[1])
    assert len(err.splitlines()) <= 4
    assert err.count("error:") == 1
    # Steps are of the same pages on two ranks and on one that accumulates two micro-batches.
    assert fit(*settings, one, "--run=alone") == 0
    assert column(run, "train/loss") == pytest.approx(column(tmp_path / "alone", "train/loss"), rel=1e-5)
    assert largest_difference(run, tmp_path / "alone") <= 1e-5


def test_torchrun(tmp_path):
    # torchrun has options that begin with --run; arguments after -- are not parsed by it.
    torchrun = ("torch.distributed.run", "--nproc_per_node", 2, "-m")
    settings = (*ADAMW, *SEEN, "--data.pages=9", *TWO)
    ended(started(tmp_path, *torchrun, "recipes.fit", *settings, "--trainer.max_epochs=1"))
    assert seen(tmp_path, 2) == once_an_epoch(9, 1)
    out, _ = ended(started(tmp_path, *torchrun, "--", "recipes.fit", *settings, "--ckpt_path", "last"))
    assert seen(tmp_path, 2) == once_an_epoch(9, 3)
    finished_once(out, tmp_path / "runs" / "uhd" / "version_0")


def test_two_machines(tmp_path):
    port = free_port()
    settings = (*ADAMW, *SEEN, "--data.pages=9", "--trainer.num_nodes=2", "--trainer.devices=1", "--run", "run")
    torchrun = ("torch.distributed.run", "--nnodes", 2, "--nproc_per_node", 1, "--master_addr", "127.0.0.1")
    machines = [
        started(tmp_path, *torchrun, "--master_port", port, "--node_rank", rank, "-m", "--", "recipes.fit", *settings)
        for rank in range(2)
    ]
    (out, _), (silent, _) = [ended(machine) for machine in machines]
    assert silent == ""
    assert seen(tmp_path, 2) == once_an_epoch(9, 3)
    finished_once(out, tmp_path / "run")


def test_slurm(tmp_path):
    settings = (*ADAMW, *SEEN, "--data.pages=12", *TWO)
    job = {
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "training",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    tasks = [started(tmp_path, "recipes.fit", *settings, **job, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank in "01"]
    (out, _), (silent, _) = [ended(task) for task in tasks]
    assert silent == ""
    assert seen(tmp_path, 2) == once_an_epoch(12, 3)
    finished_once(out, tmp_path / "runs" / "uhd" / "version_0")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]

"""Runs that are killed or told to stop at any moment resume bit for bit, and leave no processes."""

import csv
import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.fitting import OWN, SMALL, once_an_epoch, weights

from recipes.states import newest_state

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc")]

PAGES, EPOCHS = 9, 4
RUN = (
    *SMALL,
    "--allow_import=watching",
    "--trainer.callbacks+=watching.Watching",
    f"--data.pages={PAGES}",
    "--data.val_pages=2",
    f"--trainer.max_epochs={EPOCHS}",
    "--trainer.val_check_interval=2",
    "--states.every_steps=1",
)
STEPS = EPOCHS * -(-PAGES // 2)
CALLS = ("fsync", "replace", "rmdir", "unlink", "open")


def fitting(folder, arguments, dies_at=None):
    """Run `fit` in its own process and process group, killed at its `dies_at`-th call that writes."""
    import torch

    os.setsid()
    os.chdir(folder)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    torch.set_num_threads(1)
    sys.path.insert(0, str(OWN))
    sys.argv = [str(Path(__file__).parents[1] / "packages/recipes/src/recipes/fit.py"), *map(str, arguments)]
    if dies_at is not None:
        calls = itertools.count()
        for name in CALLS:
            setattr(os, name, _dying(getattr(os, name), calls, dies_at))
    from recipes.command_line.entry import main

    main("fit")


def _dying(function, calls, dies_at):
    def call(*arguments, **options):
        if Path("run/metrics.csv").exists() and next(calls) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    return call


@pytest.fixture
def start(tmp_path):
    """Starts `fit` in the test's folder, forked from a process that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["recipes.commands.fit", "transformers.models.qwen3", "lightning.pytorch"])
    started = []

    def begin(*arguments, dies_at=None):
        (tmp_path / "err.txt").unlink(missing_ok=True)
        process = context.Process(target=fitting, args=(tmp_path, arguments, dies_at))
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.is_alive():
            process.kill()
        process.join()


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)
    return found


def ended(process, seconds=90):
    process.join(seconds)
    assert process.exitcode is not None, "it did not end"
    return process.exitcode


def said(folder):
    return (folder / "err.txt").read_text()


def steps_of(run):
    with (run / "metrics.csv").open() as stream:
        return [int(row["step"]) for row in csv.DictReader(stream) if row.get("train/loss")]


def family(group):
    """Processes of that group that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, NotADirectoryError):
            continue
        if entry.name.isdigit() and int(fields[2]) == group and fields[0] not in "ZX":
            found.append(int(entry.name))
    return found


@pytest.fixture
def whole(start, tmp_path):
    """The weights of the undisturbed run."""
    assert ended(start(*RUN, "--run=whole")) == 0, said(tmp_path)
    return weights(tmp_path / "whole")


def check(folder, whole, kills=0):
    """Check that nothing was lost; a killed run may lack the row of its last state's step, which is logged after it."""
    assert weights(folder / "run") == whole
    steps = steps_of(folder / "run")
    assert steps == sorted(set(steps))
    assert len(steps) >= STEPS - kills
    files = [(folder / "seen" / str(step)).read_text().splitlines() for step in range(STEPS)]
    assert Counter(line for lines in files for line in lines) == once_an_epoch(PAGES, EPOCHS)


def moment(kind, process, folder, newest):
    """Wait until the run has resumed from its state, writes one, validates, or has ended."""
    states = folder / "run/states"
    come = {
        "time": lambda: newest_state(states) != newest,
        "save": lambda: list(states.glob(".step-*/rank*")),
        "validation": lambda: (folder / f"validating.{process.pid}").exists(),
    }[kind]
    until(lambda: not process.is_alive() or come())


def test_killed_at_twenty_moments(start, tmp_path, whole):
    rng, run = random.Random(10), tmp_path / "run"
    kinds = ["time"] * 6 + ["call"] * 9 + ["save"] * 3 + ["validation"] * 2
    rng.shuffle(kinds)
    killed = Counter()
    for kind in kinds:
        newest = newest_state(run / "states")
        how = ("--ckpt_path=last",) if newest else ()
        if newest is None and run.exists():
            assert ended(start(*RUN, "--run=run", "--ckpt_path=last")) == 1
            assert "no training state" in said(tmp_path)
            run.rename(tmp_path / f"without{sum(killed.values())}")
        process = start(*RUN, "--run=run", *how, dies_at=rng.randrange(90) if kind == "call" else None)
        if kind != "call":
            moment(kind, process, tmp_path, newest)
            time.sleep(rng.random() * 0.5 if kind == "time" else 0)
            process.kill()
        code = ended(process)
        assert code in (-signal.SIGKILL, 0), said(tmp_path)
        killed[kind if code else "ended"] += 1
        if code == 0:
            check(tmp_path, whole, 20)
            for path in (run, tmp_path / "seen"):
                path.rename(tmp_path / f"{path.name}{sum(killed.values())}")
    how = ("--ckpt_path=last",) if newest_state(run / "states") else ()
    assert ended(start(*RUN, "--run=run", *how)) == 0, said(tmp_path)
    check(tmp_path, whole, 20)
    assert killed["ended"] <= 6, killed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_told_to_stop(start, tmp_path, whole, number, code):
    process = start(*RUN, "--run=run", "--data.workers=2")
    until(lambda: newest_state(tmp_path / "run/states"))
    os.killpg(process.pid, number)
    assert ended(process) == code
    newest = newest_state(tmp_path / "run/states").relative_to(tmp_path)
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert said(tmp_path).split("\n") == [
        "",
        f"{name}: stopping after this step; again to stop at once",
        f"stopped by {number.name} after step {int(newest.name[5:])}; resume with --ckpt_path {newest}",
        "",
    ]
    until(lambda: not family(process.pid), 15)
    assert ended(start(*RUN, "--run=run", "--ckpt_path=last")) == 0
    check(tmp_path, whole)


def test_told_to_stop_in_a_validation(start, tmp_path):
    process = start(*RUN, "--run=run", "--data.val_pages=4000", "--data.val_batch_size=1", "--states.every_steps=null")
    until(lambda: (tmp_path / f"validating.{process.pid}").exists())
    process.terminate()
    assert ended(process) == 143
    assert "after step 2; resume with --ckpt_path run/states/step-00000002" in said(tmp_path)
    process = start(*RUN, "--run=run", "--ckpt_path=last")
    assert ended(process) == 0
    assert steps_of(tmp_path / "run") == list(range(STEPS))


def test_asked_for_a_state(start, tmp_path, whole):
    process = start(*RUN, "--run=run", "--states.every_steps=null", "--trainer.max_epochs=400")
    until(lambda: (tmp_path / "run/metrics.csv").exists())
    assert newest_state(tmp_path / "run/states") is None
    os.kill(process.pid, signal.SIGUSR1)
    until(lambda: newest_state(tmp_path / "run/states"))
    rows = len(steps_of(tmp_path / "run"))
    until(lambda: len(steps_of(tmp_path / "run")) > rows + 1)
    assert said(tmp_path) == ""


def typed(folder, *options):
    """The command itself, in its own session."""
    command = [sys.executable, "-m", "recipes.fit", *RUN, "--run=run", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(OWN)}
    with (folder / "err.txt").open("w") as stream:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )


def test_ctrl_c_twice_ends_at_once(tmp_path):
    process = typed(tmp_path, "--data.workers=2", "--data.pages=400", "--trainer.accumulate_grad_batches=200")
    # Its workers, and the helper processes of multiprocessing.
    until(lambda: len(family(process.pid)) > 3, 120)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    until(lambda: "again to stop at once" in said(tmp_path) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(5) == -signal.SIGINT
    assert "Traceback" not in said(tmp_path)
    # A worker that is still importing notices once it has finished.
    until(lambda: not family(process.pid), 60)


@pytest.mark.parametrize("options", ["--data.workers=2", "--trainer.devices=2"])
def test_no_process_is_left(tmp_path, options):
    process = typed(tmp_path, "--trainer.max_epochs=400", options)
    try:
        until(lambda: process.poll() is not None or newest_state(tmp_path / "run/states"), 180)
        assert len(family(process.pid)) > 1, said(tmp_path)
        process.kill()
        process.wait()
        until(lambda: not family(process.pid), 20)
    finally:
        for left in family(process.pid):
            os.kill(left, signal.SIGKILL)
        process.wait()

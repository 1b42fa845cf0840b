"""What a run leaves and reports when something goes wrong."""

import json
import os
import random
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from safetensors.torch import load_file
from tests.fitting import SEEN, SMALL, weights

from recipes.states import newest_state
from recipes.states.ranks import Ranks
from recipes.states.stored import StoredState

EACH = ("--states.every_steps=1", "--states.keep=99")


@pytest.fixture
def conversations(tmp_path):
    """Writes NAME.json with the given number of questions about pictures; the listed pictures are damaged."""

    def make(name, number, damaged=()):
        records = []
        for index in range(number):
            picture = tmp_path / f"{name}{index}.png"
            Image.new("RGB", (40, 30), (index * 20, 0, 0)).save(picture)
            if index in damaged:
                # Its header and chunks are whole, so that only decoding tells.
                content = picture.read_bytes()
                picture.write_bytes(content[:45] + bytes(10) + content[55:])
            turns = [{"from": "human", "value": "<image>\nA?"}, {"from": "gpt", "value": "red"}]
            records.append({"id": f"{name}{index}", "image": picture.name, "conversations": turns})
        (tmp_path / f"{name}.json").write_text(json.dumps(records))
        return f"{name}.json"

    return make


OWN_DATA = (
    "--config=uhd.yaml",
    "--config=data/llava.yaml",
    "--controls=false",
    "--data.batch_size=2",
    "--trainer.accelerator=cpu",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.max_epochs=2",
)


def test_one_bad_picture_in_the_validation(fit, tmp_path, conversations, capsys):
    data = (f"--data.path={conversations('t', 4)}", f"--data.val_path={conversations('v', 3, [1])}", "--data.workers=0")
    assert fit(*OWN_DATA, *data, "--trainer.val_check_interval=1.0", "--run=inside") == 1
    message = capsys.readouterr().err
    assert "v1.png" in message
    assert "the newest state is inside/states/step-00000002" in message
    assert len(message.splitlines()) <= 4
    once = ("--trainer.max_epochs=1", "--trainer.val_check_interval=1.0")
    assert fit(*OWN_DATA, *data, *once, "--run=last") == 1
    message = capsys.readouterr().err
    assert "v1.png" in message
    assert f"the weights are in {tmp_path / 'last/checkpoint'}; the newest state is last/states/" in message
    assert len(message.splitlines()) <= 4
    conversations("v", 3)
    assert fit(*OWN_DATA, *data, *once, "--ckpt_path=inside") == 0
    assert weights(tmp_path / "inside") == weights(tmp_path / "last")


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_one_bad_picture_in_the_training(fit, conversations, capsys, workers):
    data = (f"--data.path={conversations('t', 6, [3])}", f"--data.workers={workers}", "--run=run")
    assert fit(*OWN_DATA, *data) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert "t3.png" in message
    assert "Traceback" not in message
    assert len(message.splitlines()) <= 4


def test_a_loss_that_is_not_finite(fit, tmp_path, capsys):
    spoiling = ("--allow_import=spoiling", "--trainer.callbacks+=spoiling.Spoiling", "--trainer.callbacks.step=2")
    assert fit(*SMALL, *spoiling, "--data.pages=8", "--run=run", "--states.every_steps=1") == 1
    message = capsys.readouterr().err
    assert len(message.splitlines()) <= 4
    assert "the loss became nan at step 3" in message
    assert "run/non_finite_loss.rank*.json" in message
    assert "the newest state is run/states/step-00000001" in message
    report = json.loads((tmp_path / "run/non_finite_loss.rank0.json").read_text())
    assert report == {"step": 2, "samples": ["page 4", "page 5"]}
    for path in (tmp_path / "run/states").rglob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(path).values() if tensor.is_floating_point())
    assert fit(*SMALL, "--data.pages=8", "--ckpt_path=run") == 0


def test_an_earlier_state_is_resumed_in_the_same_folder(fit, tmp_path):
    several = (*SMALL, "--data.pages=8", "--trainer.max_epochs=1", "--states.every_steps=1", "--states.keep=3")
    assert fit(*several, "--run=run") == 0
    before = weights(tmp_path / "run")
    stopped = (*SEEN, "--trainer.callbacks.stop_at=[3]")
    assert fit(*several, *stopped, "--ckpt_path=run/states/step-00000002") == 143
    assert newest_state(tmp_path / "run/states").name == "step-00000003"
    assert fit(*several, "--ckpt_path=run") == 0
    assert weights(tmp_path / "run") == before
    assert [path.name[-1] for path in sorted((tmp_path / "run/states").iterdir())] == ["2", "3", "4"]


def test_a_part_that_no_checkpoint_could_describe(fit, tmp_path, capsys):
    own = "--allow_import=forgetful", "--model.network.connector=forgetful.Forgetful"
    assert fit(*SMALL, *own, "--run=run") == 1
    said = capsys.readouterr().err
    assert "Forgetful does not keep its argument 'strength' as an attribute" in said
    assert not list((tmp_path / "run").glob("states/*"))


def test_a_validation_that_is_switched_off(fit, tmp_path, capsys):
    short = "--trainer.max_steps=2", "--data.pages=8", "--trainer.limit_val_batches=0", "--controls=true"
    assert fit(*SMALL, *short, "--run=run") == 0
    assert not (tmp_path / "run/predictions.png").exists()
    shown = capsys.readouterr()
    assert "checkpoint: run/checkpoint" in shown.out
    assert "predictions" not in shown.out + shown.err


def test_a_time_limit(fit, tmp_path, capsys):
    limit = ("--trainer.max_epochs=1000", "--trainer.max_time=00:00:00:02", "--trainer.val_check_interval=null")
    assert fit(*SMALL, "--data.pages=8", *limit, "--run=run") == 0
    step = int(newest_state(tmp_path / "run/states").name[5:])
    assert step < 4000
    assert f"after step {step}; resume with --ckpt_path run/states/step-{step:08d}" in capsys.readouterr().err
    assert weights(tmp_path / "run")


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*"))


def test_a_full_disk(fit, tmp_path, capsys):
    several = (*SMALL, "--data.pages=8", "--trainer.max_epochs=1")
    assert fit(*several, "--run=whole") == 0
    state, checkpoint = size(tmp_path / "whole/states"), size(tmp_path / "whole/checkpoint")
    for name, room, options, newest in (
        ("state", state + state // 2, ("--states.every_steps=1",), "step-00000001"),
        ("checkpoint", state + checkpoint // 2, (), "step-00000004"),
    ):
        run = tmp_path / name
        run.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(run)]
        if (
            sys.platform != "linux"
            or os.geteuid()
            or subprocess.run(mount, capture_output=True, check=False).returncode
        ):
            pytest.skip("file systems cannot be mounted here")
        try:
            capsys.readouterr()
            assert fit(*several, f"--run={name}", *options) == 1
            message = capsys.readouterr().err
            assert message.startswith(f"error: disk full: {name}"), message
            assert f"; the newest state is {name}/states/{newest}\n" in message
            assert len(message.splitlines()) <= 4
            assert [path.name for path in (run / "states").iterdir()] == [newest]
            assert not [path for path in run.rglob("*") if "partial" in path.name]
            StoredState(run / "states" / newest).verify(Ranks())
        finally:
            subprocess.run(["umount", str(run)], check=True)


def mutated(state, rng):
    """Change one thing about a state; returns what was changed."""
    path = rng.choice(sorted(state.iterdir()))
    content = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "flip", "cut", "grow", "delete", "value", "value"])
    if kind == "value":
        page = state / "state.json"
        described = json.loads(page.read_text())
        inner = described
        while isinstance(inner, dict | list) and inner:
            outer, key = inner, rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
            inner = outer[key]
        outer[key] = rng.choice([None, -1, 2**70, "x", [], {}, 0.5, True])
        page.write_text(json.dumps(described))
    elif kind == "delete":
        path.unlink()
    else:
        at = rng.randrange(len(content))
        if kind == "flip":
            content[at] ^= 1 << rng.randrange(8)
        path.write_bytes(content[:at] if kind == "cut" else content + b"0" if kind == "grow" else content)
    return f"{kind} {path.name}"


@pytest.mark.slow
def test_states_that_were_changed_in_any_way(fit, tmp_path, capsys):
    several = (*SMALL, "--data.pages=4", "--trainer.max_epochs=1", "--trainer.val_check_interval=null")
    assert fit(*several, "--run=run", *EACH) == 0
    whole = tmp_path / "run/states/step-00000001"
    rng = random.Random(0)
    for number in range(200):
        state = tmp_path / "run/states/step-00000007"
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(whole, state)
        done = mutated(state, rng)
        capsys.readouterr()
        code = fit(*several, f"--run=again{number}", "--ckpt_path=run/states/step-00000007")
        if code == 0:
            assert weights(tmp_path / f"again{number}") == weights(tmp_path / "run"), done
            continue
        message = capsys.readouterr().err
        assert code == 1, done
        assert message.startswith("error: run/states/step-00000007"), done
        assert len(message.splitlines()) <= 4, done
        assert not (tmp_path / f"again{number}" / "checkpoint").exists()

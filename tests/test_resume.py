"""A resumed run equals the uninterrupted run bit for bit; the command line decides, or is refused by name."""

import csv
import json
import shutil

import pytest
from safetensors.torch import load_file
from tests.fitting import SEEN, SMALL, once_an_epoch, seen, weights

from recipes.run.lock import locked
from recipes.states import newest_state
from recipes.states.folder import rewrite_manifest

EACH = ("--states.every_steps=1", "--states.keep=99")


def curve(run):
    """The run's metrics without its speed."""
    with (run / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return [{name: value for name, value in row.items() if not name.startswith("speed/") and value} for row in rows]


def tensors(state):
    merged = {}
    for path in sorted(state.glob("*.safetensors")):
        merged |= load_file(path)
    return merged


@pytest.mark.parametrize(
    "options",
    [
        (),
        *(
            pytest.param(options, marks=pytest.mark.slow)
            for options in (
                ("--trainer.accumulate_grad_batches=2",),
                ("--trainer.accumulate_grad_batches=4", "--model.optimizer=adamw"),
                ("--config=vary_tiny.yaml", "--trainer.max_epochs=2"),  # an OPT, which has dropout
                ("--data.workers=2",),
                ("--data.workers=4", "--trainer.accumulate_grad_batches=2"),
            )
        ),
    ],
)
def test_bit_equal(fit, tmp_path, capsys, options):
    several = (*SMALL, "--data.pages=9", *options, *EACH)
    assert fit(*several, "--run=whole") == 0
    whole = tmp_path / "whole"
    states = sorted((whole / "states").iterdir())
    last = tensors(states[-1])
    for number in {0, len(states) // 2, len(states) - 2}:
        run = f"again{number}"
        assert fit(*several, f"--run={run}", "--ckpt_path", states[number]) == 0
        assert weights(tmp_path / run) == weights(whole)
        assert curve(tmp_path / run) == curve(whole)
        ended = tensors(newest_state(tmp_path / run / "states"))
        assert set(ended) == set(last)
        for name, tensor in last.items():
            assert tensor.equal(ended[name]), name
    before = weights(whole)
    capsys.readouterr()
    assert fit(*several, "--run=whole", "--ckpt_path=last") == 0
    assert "nothing is left to train after step" in (said := capsys.readouterr().err)
    assert "ended early" not in said
    assert weights(whole) == before


@pytest.mark.parametrize(
    "options", [(), pytest.param(("--trainer.check_val_every_n_epoch=2",), marks=pytest.mark.slow)]
)
def test_bit_equal_where_epochs_are_cut_short(fit, tmp_path, options):
    """Also from a state at the end of an epoch whose validation has not been, or is due after the next one only."""
    several = (*SMALL, "--data.pages=9", "--trainer.limit_train_batches=2", *options, *EACH)
    assert fit(*several, "--run=whole") == 0
    whole = tmp_path / "whole"
    for state in sorted((whole / "states").iterdir())[1:4]:
        rewrite_manifest(state, {"validated": False})
        run = f"again {state.name}"
        assert fit(*several, f"--run={run}", "--ckpt_path", state) == 0
        assert weights(tmp_path / run) == weights(whole)
        rates, expected = (
            [(row["step"], row["train/loss"]) for row in curve(each) if "train/loss" in row]
            for each in (tmp_path / run, whole)
        )
        assert rates == expected


def test_a_resumed_run_goes_on_in_its_folder(fit, tmp_path):
    several = (*SMALL, *SEEN, "--data.pages=8", "--trainer.callbacks.stop_at=[2]")
    assert fit(*several) == 143
    config = tmp_path / "runs" / "uhd" / "version_0" / "config.yaml"
    assert "stop_at:\n      - 2\n" in config.read_text()
    assert fit(*several, "--trainer.callbacks.stop_at=[3]", "--ckpt_path=last") == 143
    assert fit(*SMALL, *SEEN, "--data.pages=8", "--ckpt_path=last") == 0
    assert "stop_at: null" in config.read_text()
    assert [path.name for path in (tmp_path / "runs" / "uhd").iterdir()] == ["version_0"]
    assert [int(row["step"]) for row in curve(tmp_path / "runs/uhd/version_0") if "train/loss" in row] == list(
        range(12)
    )
    assert seen(tmp_path) == once_an_epoch(8, 3)


@pytest.mark.slow
def test_a_validation_that_was_due_is_made_up_for(fit, tmp_path):
    several = (*SMALL, "--data.pages=8", "--trainer.val_check_interval=2", *EACH)
    assert fit(*several, "--run=whole") == 0
    for step in (2, 4):
        state = tmp_path / "whole" / "states" / f"step-{step:08d}"
        described = json.loads((state / "state.json").read_text())
        assert described["validated"]
        rewrite_manifest(state, {"validated": False})
        assert fit(*several, f"--run=again{step}", "--ckpt_path", state) == 0
        rows = [(row["step"], row.get("val/anls"), row.get("train/loss")) for row in curve(tmp_path / f"again{step}")]
        missed = [row for row in curve(tmp_path / "whole") if "val/anls" in row and int(row["step"]) == step - 1]
        assert len(missed) == 1
        assert rows.count((str(step - 1), missed[0]["val/anls"], None)) >= 1
        assert weights(tmp_path / f"again{step}") == weights(tmp_path / "whole")


def test_more_epochs_and_the_command_line_wins(fit, tmp_path):
    assert fit(*SMALL, "--data.pages=8", "--trainer.max_epochs=1", "--run=first") == 0
    more = ("--trainer.max_epochs=2", "--model.weight_decay=0.1", "--model.betas=[0.5,0.6]", "--model.encoder_lr=1e-9")
    assert fit(*SMALL, "--data.pages=8", *more, "--run=second", "--ckpt_path=first") == 0
    assert int(newest_state(tmp_path / "second" / "states").name[5:]) == 8
    first, second = (load_file(tmp_path / run / "checkpoint" / "encoder.safetensors") for run in ("first", "second"))
    for name, weight in first.items():
        assert (second[name] - weight).abs().max() < 1e-5, name


def test_what_cannot_be_changed_is_refused(fit, tmp_path, capsys):
    assert fit(*SMALL, *SEEN, "--data.pages=8", "--trainer.callbacks.stop_at=[2]") == 143
    config = tmp_path / "runs" / "uhd" / "version_0" / "config.yaml"
    before = config.read_text()
    for changes, words in (
        (["--model.optimizer=adamw"], ["optimizer muon", "--model.optimizer=muon"]),
        (["--model.encoder_lr=null"], ["encoder", "not trained in this run"]),
        (["--data.pages=6"], ["8 samples", "now has 6"]),
        (["--data.seed=1"], ["the data has changed"]),
    ):
        capsys.readouterr()
        assert fit(*SMALL, "--data.pages=8", *changes, "--ckpt_path=last") == 1
        message = capsys.readouterr().err
        assert all(word in message for word in words), message
        assert len(message.splitlines()) <= 4
        assert config.read_text() == before


def test_last_without_a_state(fit, tmp_path, capsys):
    assert fit(*SMALL, "--ckpt_path=last") == 1
    assert "there is no run in runs/uhd yet" in capsys.readouterr().err
    (tmp_path / "runs" / "uhd" / "version_3").mkdir(parents=True)
    assert fit(*SMALL, "--ckpt_path=last") == 1
    assert "holds no training state" in capsys.readouterr().err
    assert fit(*SMALL, "--ckpt_path=nowhere") == 1
    assert "there is no training state nowhere" in capsys.readouterr().err
    (tmp_path / "old.ckpt").write_bytes(b"PK")
    assert fit(*SMALL, "--ckpt_path=old.ckpt") == 1
    assert "pickled files are not read" in capsys.readouterr().err


def test_a_state_outside_of_a_run(fit, tmp_path, capsys):
    """Its files would be written beside whatever else is there."""
    assert fit(*SMALL, "--data.pages=4", "--trainer.max_epochs=1", "--run=first") == 0
    copied = tmp_path / "project" / "keep" / "step-00000002"
    shutil.copytree(newest_state(tmp_path / "first" / "states"), copied)
    (tmp_path / "project" / "config.yaml").write_text("mine: 1\n")
    capsys.readouterr()
    assert fit(*SMALL, "--data.pages=4", "--ckpt_path", copied) == 1
    assert "is not in the folder of a run: say with --run" in capsys.readouterr().err
    assert sorted(path.name for path in copied.parents[1].iterdir()) == ["config.yaml", "keep"]
    assert fit(*SMALL, "--data.pages=4", "--trainer.max_epochs=2", "--ckpt_path", copied, "--run=second") == 0


def test_two_trainings_are_not_in_one_folder(fit, tmp_path, capsys):
    assert fit(*SMALL, "--data.pages=4", "--trainer.max_epochs=1", "--run=run") == 0
    more = (*SMALL, "--data.pages=4", "--trainer.max_epochs=2", "--run=run", "--ckpt_path=last")
    before = (tmp_path / "run" / "config.yaml").read_text()
    with locked(tmp_path / "run" / "run.log", "held by another one"):
        assert fit(*more) == 1
    assert "another training runs in run: wait until it has ended" in capsys.readouterr().err
    assert (tmp_path / "run" / "config.yaml").read_text() == before
    assert fit(*more) == 0


def test_a_folder_is_for_one_run(fit, capsys):
    assert fit(*SMALL, "--data.pages=2", "--run=there") == 0
    assert fit(*SMALL, "--data.pages=2", "--run=there") == 1
    assert "there holds a run already" in capsys.readouterr().err

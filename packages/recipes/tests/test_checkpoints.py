"""The checkpoint that is meant: a folder, a hub name, or the trained model of a run."""

from pathlib import Path

import pytest

from recipes.command_line.arguments import CHECKPOINT, prepare
from recipes.command_line.checkpoints import checkpoint_in
from recipes.command_line.configurations import UsageError
from recipes.command_line.options import predict_options

RUN = "model: {}\ntrainer: {}\ndata: {}\n"


@pytest.fixture
def run(tmp_path):
    """Makes a run with these folders."""

    def made(*folders):
        run = tmp_path / "runs/uhd/version_3"
        for name in folders:
            (run / name).mkdir(parents=True)
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.yaml").write_text(RUN)
        return run

    return made


@pytest.mark.parametrize("name", ["checkpoint", "adapter"])
def test_a_run(run, name):
    folder = run(name, "states/step-00000010", "base")
    assert checkpoint_in(folder) == folder / name
    assert checkpoint_in(folder / name) == folder / name


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        ((), "has neither a checkpoint nor a training state: start it again"),
        (("states",), "has neither a checkpoint nor a training state"),
        (
            ("states/step-00000009", "states/step-00000010", "states/.step-00000011"),
            r"only training states, the newest .*/states/step-00000010: .*merge_shards .*/states/step-00000010 OUT",
        ),
        (("states/step-00000010", "checkpoint-step-00000010"), "give .*/version_3/checkpoint-step-00000010"),
    ],
)
def test_a_run_without_a_checkpoint(run, folders, said):
    with pytest.raises(UsageError, match=said):
        checkpoint_in(run(*folders))


def test_a_folder_of_runs(run):
    folder = run("checkpoint").parent
    (folder / "version_12").mkdir()
    with pytest.raises(UsageError, match=r"uhd holds 2 runs: give one of them, the latest is .*/uhd/version_12$"):
        checkpoint_in(folder)


def test_everything_else_stays(tmp_path):
    (tmp_path / "config.yaml").write_text("format: 1\nencoder: {}\n")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.yaml").write_text("a: [")
    for each in (tmp_path, tmp_path / "broken", tmp_path / "none", Path("llava-hf/llava-1.5-7b-hf")):
        assert checkpoint_in(each) == each


def folder_of(*words):
    """The checkpoint that the parser is given, and the words that are left."""
    typed = prepare(words)
    place = typed.arguments.index(str(CHECKPOINT)) + 1
    assert typed.arguments[place].startswith("--model.network.folder=")
    left = [word for word in typed.arguments if not word.endswith(".yaml") and word != "--config"]
    left.remove(typed.arguments[place])
    return typed.arguments[place].partition("=")[2], left


@pytest.mark.parametrize(
    "words",
    [
        ("a/b", "--config", "uhd.yaml", "--data.val_pages", "4"),
        ("--config", "uhd.yaml", "a/b", "--data.val_pages", "4"),
        ("--config=uhd.yaml", "--data.val_pages", "4", "a/b"),
        ("--data.val_pages", "4", "--checkpoint", "a/b", "--config=uhd.yaml"),
        ("a/b", "--config=uhd.yaml", "--data.val_pages", "4", "--checkpoint=a/b"),
    ],
)
def test_alone_among_options(words):
    assert folder_of(*words) == ("a/b", ["--data.val_pages", "4"])


def test_an_option_keeps_its_words():
    assert folder_of("a/b", "--image", "10x10", "20x20") == ("a/b", ["--image", "10x10", "20x20"])
    typed = prepare(["--data.path", "a.json", "--trainer.max_steps", "-1", "--image", "10x10", "20x20"]).arguments
    assert typed == ("--data.path", "a.json", "--trainer.max_steps", "-1", "--image", "10x10", "20x20")


def test_of_a_run(run, monkeypatch, capsys):
    folder = run("checkpoint")
    assert folder_of(str(folder))[0] == str(folder / "checkpoint")
    said = f"{folder} is a run: its checkpoint is used"
    assert prepare([str(folder)]).remark == said
    assert prepare([str(folder / "checkpoint")]).remark == ""
    monkeypatch.setattr("sys.argv", ["predict", str(folder), "--question", "What?"])
    assert predict_options().checkpoint == folder / "checkpoint"
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a/b", "c/d"), "two checkpoints are given, a/b and c/d"),
        (("a/b", "--checkpoint", "b"), "two checkpoints are given, a/b and b"),
        (("stray",), "stray: there is no such checkpoint; settings are typed as --NAME VALUE"),
        (("uhd",), "give a configuration as --config uhd"),
        (("uhd.yaml",), r"give a configuration as --config uhd\.yaml"),
        (("none.yaml",), r"give a configuration as --config none\.yaml"),
    ],
)
def test_faults(words, said):
    with pytest.raises(UsageError, match=said):
        prepare(words)

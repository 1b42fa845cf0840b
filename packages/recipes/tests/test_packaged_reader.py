"""The packaged reader: used where no model is given, and under the name `reader`."""

import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from foveal import reader
from recipes.command_line.arguments import prepare
from recipes.command_line.options import chat_options, predict_options
from recipes.command_line.serve_options import serve_options


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A folder that stands in for the package's checkpoint."""
    folder = tmp_path / "packaged"
    folder.mkdir()
    monkeypatch.setattr(reader, "path", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


def asked(monkeypatch, options, *words):
    monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
    return options()


def test_it_is_installed_with_the_commands():
    """`pip install foveal-recipes && foveal chat page.png` is all that a first answer takes."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert "foveal-reader" in {Requirement(each).name for each in project["dependencies"]}


def test_no_model_is_given(packaged, monkeypatch, capsys):
    (packaged.parent / "page.png").write_bytes(b"")
    chat = asked(monkeypatch, chat_options, "page.png")
    assert (chat.checkpoint, [path.name for path in chat.images]) == (packaged, ["page.png"])
    assert "no model is given: foveal-reader is used" in capsys.readouterr().err
    predict = asked(monkeypatch, predict_options, "--image", "page.png", "--question", "Read.")
    assert predict.checkpoint == packaged


def test_it_is_asked_about_pictures_only(packaged, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        asked(monkeypatch, predict_options, "--question", "Read.")
    assert end.value.code == 2
    assert "give --image FILE, or a model with --checkpoint" in capsys.readouterr().err
    named = asked(monkeypatch, predict_options, "--checkpoint", "reader", "--question", "Read.")
    assert named.checkpoint == packaged


def test_its_name(packaged, monkeypatch, capsys):
    assert asked(monkeypatch, chat_options, "--checkpoint", "reader").checkpoint == packaged
    arguments = prepare(["--config", "reader.yaml", "--checkpoint", "reader"]).arguments
    assert f"--model.network.folder={packaged}" in arguments
    assert "--model.network.dtype=float32" in arguments
    assert capsys.readouterr().err == ""


def test_a_folder_of_that_name_comes_first(packaged, monkeypatch, capsys):
    own = packaged.parent / "reader"
    own.mkdir()
    assert asked(monkeypatch, chat_options, "--checkpoint", "reader").checkpoint.name == "reader"
    assert "--model.network.folder=reader" in prepare(["--checkpoint", "reader"]).arguments
    (own / "config.yaml").write_text("{model: {}, trainer: {}}")
    (own / "checkpoint").mkdir()
    assert asked(monkeypatch, chat_options, "--checkpoint", "reader").checkpoint == Path("reader/checkpoint")
    assert capsys.readouterr().err == "reader is a run: its checkpoint is used\n"
    prepared = prepare(["--checkpoint", "reader"])
    assert prepared.remark == "reader is a run: its checkpoint is used"
    assert "--model.network.folder=reader/checkpoint" in prepared.arguments
    assert "--model.network.dtype=float32" not in prepared.arguments


def test_without_weights_a_model_must_be_given(packaged, monkeypatch, capsys):
    packaged.rmdir()
    with pytest.raises(SystemExit):
        asked(monkeypatch, chat_options)
    assert "give the model" in capsys.readouterr().err


def test_the_server_calls_it_reader(packaged, monkeypatch):
    assert asked(monkeypatch, serve_options).checkpoints == {"reader": packaged}

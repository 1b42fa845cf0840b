"""Options of the commands without a configuration."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from foveal import reader
from recipes.command_line import entry
from recipes.command_line.arguments import prepare
from recipes.command_line.configurations import shipped_configs, shipped_methods
from recipes.command_line.help import OVERLAYS
from recipes.command_line.spelling import check_spelling

NAMES = (
    *("acuity", "chat", "compare", "convert", "evaluate", "explain", "export", "merge", "merge_shards", "predict"),
    *("quantize", "serve", "shard"),
)
ASKED = ("--question", "What?")


@pytest.fixture(autouse=True)
def not_installed(monkeypatch, tmp_path):
    """A model must be given: there is no packaged reader."""
    monkeypatch.setattr(reader, "path", lambda: tmp_path / "not_installed")


@pytest.fixture
def typed(monkeypatch):
    """The options of a command."""

    def typed(name, *words):
        monkeypatch.setattr(sys, "argv", [f"python -m recipes.{name}", *words])
        return getattr(import_module(f"recipes.{name}"), f"{name}_options")()

    return typed


@pytest.fixture
def refused(typed, capsys):
    """The error with which a command refuses its options."""

    def refused(name, *words):
        with pytest.raises(SystemExit) as end:
            typed(name, *words)
        assert end.value.code == 2
        return capsys.readouterr().err.splitlines()

    return refused


ON_A_MODEL = {"predict": ASKED, "chat": (), "export": ("out",), "merge": ("out",), "quantize": ("out",)}
"""Commands on one model, and what else they need."""


@pytest.mark.parametrize("name", ON_A_MODEL)
def test_a_checkpoint_by_its_place_or_as_an_option(name, typed, refused, tmp_path, monkeypatch):
    others = ON_A_MODEL[name]
    for words in (("a/b", *others), (*others, "--checkpoint", "a/b"), ("--checkpoint=a/b/", *others)):
        options = typed(name, *words)
        assert options.checkpoint == Path("a/b")
        assert getattr(options, "output", None) == (Path("out") if "out" in others else None)
    monkeypatch.chdir(tmp_path)
    Path("a/b").mkdir(parents=True)
    assert typed(name, "a/b", "--checkpoint", "a/b", *others).checkpoint == Path("a/b")
    twice = refused(name, "a/b", "--checkpoint", "c", *others)
    assert twice == ["error: two models are given, a/b and --checkpoint c: give one"]


def test_pictures_of_a_chat(typed, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures = [Path("one.png"), Path("two.png")]
    for each in pictures:
        each.touch()
    for words in (("a/b", "one.png", "two.png"), ("one.png", "--checkpoint=a/b", "two.png")):
        options = typed("chat", *words)
        assert (options.checkpoint, options.images) == (Path("a/b"), pictures)
    assert typed("chat", "none.png", "--checkpoint=a/b").images == [Path("none.png")]
    assert refused("chat", "one.png", "two.png")[0].startswith("error: give the model")


def test_a_page_of_a_file_is_a_picture(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("report.pdf").touch()
    for words in (("report.pdf#page=3", "--checkpoint=a/b"), ("a/b", "report.pdf#page=3")):
        options = typed("chat", *words)
        assert (options.checkpoint, options.images) == (Path("a/b"), [Path("report.pdf#page=3")])
    # Without a file of this name, it is a model like any other.
    for other in ("none.pdf#page=3", "report.pdf#page=x"):
        assert typed("chat", other).checkpoint == Path(other)
    monkeypatch.setattr(reader, "path", lambda: tmp_path)
    assert typed("chat", "report.pdf#page=3").images == [Path("report.pdf#page=3")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", *ASKED), "give the model, as the first argument or with --checkpoint: a folder, a run, or a hub"),
        (("chat",), "give the model, as the first argument or with --checkpoint: a folder, a run, or a hub"),
        (
            ("predict", *ASKED, "--checkpoint", "https://a.org/b"),
            "argument --checkpoint: https://a.org/b is a URL; nothing is fetched",
        ),
        (
            ("predict", *ASKED, "--image", "memory://a.png", "--checkpoint=a"),
            "argument --image: memory://a.png is a URL",
        ),
        (("quantize", "s3://a/b", "out"), "argument CHECKPOINT: s3://a/b is a URL"),
        (("predict", "--checkpiont", "a", *ASKED), "there is no option --checkpiont; did you mean --checkpoint?"),
        (("chat", "--checkpoint", "a", "--zzz=1"), "there is no option --zzz"),
        (("merge", "a", "b", "c"), "unexpected argument: c"),
        (("merge", "a"), "the new folder OUT is missing"),
        (("quantize", "a", "b", "--kind", "nf3"), "argument --kind: invalid choice: 'nf3'"),
        (("predict", "a", "--max_new_tokens", "x", *ASKED), "argument --max_new_tokens: invalid int value: 'x'"),
        (("quantize", "a", "."), ". exists"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_was_mistyped(refused, words, said):
    first, *others = refused(*words)
    assert first.startswith(f"error: {said}")
    assert len(others) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_help_fits_a_screen(name, typed, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        typed(name, "--help")
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python -m recipes.{name} ")
    assert len(shown.splitlines()) <= 40


CONFIGURED = ("fit", "validate", "cost")


def test_overlays_of_the_help_are_shipped():
    assert set(OVERLAYS) <= set(shipped_configs())


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", CONFIGURED)
def test_help_of_the_commands_on_configurations(name, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "argv", ["x", "--config", "uhd.yaml", "--help"])
    entry.main(name)
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert lines[0].startswith(f"python -m recipes.{name} ")
    assert "--config uhd.yaml" in lines[0]
    assert len(lines) <= 64 + 5 * (columns == 80)
    assert max(len(line) for line in lines) <= max(columns, 110)
    for method in shipped_methods():
        assert f" {method}" in shown
    typed = {line.split()[0] for line in lines if line.startswith("  --")}
    assert {"--config", "--checkpoint", "--allow_import", "--print_config", "--help"} <= typed
    assert {"--model.connector_lr", "--model.network.PART", "--data.pages", "--data.path", "--data.batch_size"} <= typed
    assert ({"--run", "--controls"} <= typed) == (name != "cost")
    assert ({"--ckpt_path", "--states.every_steps", "--states.keep"} <= typed) == (name == "fit")
    assert ({"--image", "--text", "--ranks"} <= typed) == (name == "cost")
    # Every option has a help text.
    assert all(len(line.split()) > 2 for line in lines if line.startswith("  --"))


@pytest.mark.parametrize("name", CONFIGURED)
def test_help_names_settings_that_are_there(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", "-h"])
    entry.main(name)
    words = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  --")]
    settings = [
        word for word in words if not word.endswith((".PART", ".NAME", "help", "checkpoint", "config", "import"))
    ]
    own = [f"{word}=1" for word in settings if not word.startswith("--data.")]
    check_spelling(prepare(["--config", "uhd.yaml", *own]).arguments, name)
    data = [f"{word}=1" for word in settings if word.startswith("--data.")]
    pages = ["--data.pages", "--data.val_pages", "--data.settings", "--data.easy_until", "--data.hard_from"]
    assert [word for word in data if word.removesuffix("=1") in pages] == [f"{each}=1" for each in pages]
    others = [word for word in data if word.removesuffix("=1") not in pages]
    check_spelling(prepare(["--config", "uhd.yaml", "--config", "data/llava.yaml", *others]).arguments, name)


@pytest.mark.parametrize("name", CONFIGURED)
def test_help_imports_nothing_heavy(name):
    program = (
        "import runpy, sys\n"
        f"runpy.run_module('recipes.{name}', run_name='__main__')\n"
        "print(sorted({'lightning', 'torch', 'transformers', 'jsonargparse', 'foveal.models'} & set(sys.modules)))\n"
    )
    words = [sys.executable, "-c", program, "--help"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.endswith("\n[]\n")

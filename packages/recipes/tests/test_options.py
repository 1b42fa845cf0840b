"""Options of the commands without a configuration."""

import subprocess
import sys
from pathlib import Path

import pytest

from recipes.command_line import entry, options
from recipes.command_line.arguments import prepare
from recipes.command_line.configurations import shipped_configs, shipped_methods
from recipes.command_line.help import OVERLAYS
from recipes.command_line.spelling import check_spelling

NAMES = ("chat", "convert", "export", "merge", "merge_shards", "predict", "quantize", "shard")
ASKED = ("--question", "What?")


@pytest.fixture
def typed(monkeypatch):
    """The options of a command."""

    def typed(name, *words):
        monkeypatch.setattr(sys, "argv", [f"python -m recipes.{name}", *words])
        return getattr(options, f"{name}_options")()

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


def test_a_checkpoint_has_one_name(typed):
    for name, *words in (("predict", *ASKED), ("chat",)):
        assert typed(name, "--checkpoint", "a/b", *words).checkpoint == Path("a/b")
    assert typed("chat", "one.png", "--checkpoint=a", "two.png").images == [Path("one.png"), Path("two.png")]


def test_a_checkpoint_by_its_place(typed, refused):
    assert typed("predict", "a/b", *ASKED).checkpoint == Path("a/b")
    twice = refused("predict", "a/b", "--checkpoint", "c", *ASKED)
    assert twice == ["error: give the model as --checkpoint FOLDER, once"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("predict", *ASKED), "give the model as --checkpoint FOLDER"),
        (("chat",), "give the model as --checkpoint FOLDER"),
        (
            ("predict", *ASKED, "--checkpoint", "https://a.org/b"),
            "argument --checkpoint: https://a.org/b is a URL; nothing is fetched",
        ),
        (
            ("predict", *ASKED, "--image", "memory://a.png", "--checkpoint=a"),
            "argument --image: memory://a.png is a URL",
        ),
        (("quantize", "s3://a/b", "out"), "argument IN: s3://a/b is a URL"),
        (("predict", "--checkpiont", "a", *ASKED), "there is no option --checkpiont; did you mean --checkpoint?"),
        (("chat", "--checkpoint", "a", "--zzz=1"), "there is no option --zzz"),
        (("merge", "a", "b", "c"), "unexpected argument: c"),
        (("merge", "a"), "the following arguments are required: OUT"),
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
    assert lines[0].startswith(f"python -m recipes.{name} --config uhd.yaml")
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

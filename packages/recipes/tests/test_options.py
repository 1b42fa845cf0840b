"""Options of the commands without a configuration."""

import sys
from pathlib import Path

import pytest

from recipes.command_line import options

NAMES = ("chat", "convert", "export", "merge", "merge_shards", "predict", "quantize")
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
    """What a command says instead of taking its options."""

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
        (("predict", "--checkpiont", "a", *ASKED), "there is no option --checkpiont; did you mean --checkpoint?"),
        (("chat", "--checkpoint", "a", "--zzz=1"), "there is no option --zzz"),
        (("merge", "a", "b", "c"), "c: there is no place for it"),
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

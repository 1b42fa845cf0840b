"""What the options of answering commands ask of `load`."""

import argparse

import pytest

from recipes.answering import model as answering
from recipes.command_line.model_options import add_answering_options
from recipes.estimates import room


def options(*words):
    parser = argparse.ArgumentParser()
    add_answering_options(parser)
    return argparse.Namespace(**vars(parser.parse_args(words)), checkpoint="there")


@pytest.mark.parametrize(
    ("words", "plan"), [([], None), (["--plan", "uhd_release_evaluation"], "uhd_release_evaluation")]
)
def test_the_plan_is_that_of_the_option(monkeypatch, words, plan):
    """Also where the memory is estimated: more slices need more."""
    asked = []

    class OpenedError(Exception):
        pass

    def load(folder, **given):
        asked.append(given["plan"])
        raise OpenedError

    monkeypatch.setattr(answering, "load", load)
    monkeypatch.setattr(room, "load", load)
    for free in (None, 1):
        monkeypatch.setattr(answering, "free_bytes", lambda device, free=free: free)
        with pytest.raises(OpenedError):
            answering.opened(options("--device", "cpu", *words), [], "What?")
    assert asked == [plan, plan]


def test_a_plan_of_another_name(capsys):
    with pytest.raises(SystemExit):
        options("--plan", "uhd")
    assert "uhd_release_evaluation" in capsys.readouterr().err

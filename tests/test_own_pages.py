"""The pages "One of your own": their files are a complete example, and their commands run as they are typed."""

import subprocess
import sys

import pytest
from tests.conftest import TINY
from tests.own_parts import PAGES, built, check_whole_way, files_of, picture
from tests.test_docs_commands import commands

__all__ = ["built"]
OWN = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
BRIEF = {
    "fit": ("--controls=false", *TINY),
    "validate": TINY,
    "predict": ("--max_new_tokens=4",),
    "chat": ("--max_new_tokens=4",),
    "cost": (),
    "quantize": (),
}
"""Options that make each command short."""


def own_commands(page):
    """Name and arguments of the commands on a page that use the reader's package."""
    return [(module.removeprefix("recipes."), words) for module, words in commands(page) if "mine" in words]


def test_there_is_a_page_for_every_kind_of_part():
    assert {page.stem for page in PAGES} == {"connectors", "encoders", "merges", "plans", "own_method"}


@OWN
def test_the_parts_of_a_page(page, built, tmp_path):
    ((_, words),) = [each for each in own_commands(page) if each[0] == "fit"]
    check_whole_way(built(files_of(page), words), tmp_path / "checkpoint", "mine")


@pytest.mark.slow
@OWN
def test_the_commands_of_a_page(page, command, tmp_path):
    for name, text in files_of(page).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    picture(200, 150).save(tmp_path / "page.png")
    for name, words in own_commands(page):
        if name == "chat":
            asked = subprocess.run(
                [sys.executable, "-m", "recipes.chat", *words, *BRIEF[name]],
                cwd=tmp_path,
                input="What is the total?\n",
                capture_output=True,
                text=True,
                check=False,
            )
            assert asked.returncode == 0, asked.stderr
            assert len(asked.stdout.splitlines()) == 1
        else:
            command(name, *words, *BRIEF[name])


@pytest.mark.slow
def test_a_checkpoint_of_another_package_is_refused_by_every_command(command, tmp_path):
    """Refused in one message that names the package and the option, even if no file of that name exists."""
    page = next(page for page in PAGES if page.stem == "connectors")
    for name, text in files_of(page).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    ((_, words),) = [each for each in own_commands(page) if each[0] == "fit"]
    command("fit", *words, *BRIEF["fit"])
    folder = tmp_path / "runs/pool/checkpoint"
    (tmp_path / "mine.py").unlink()
    for name, *others in (
        ("predict", "--checkpoint", folder, "--question", "What?"),
        ("chat", "--checkpoint", folder),
        ("quantize", folder, "quantised"),
        ("export", folder, "exported"),
        ("fit", "--config", "deco.yaml", "--checkpoint", folder, *BRIEF["fit"]),
        ("validate", "--config", "deco.yaml", "--checkpoint", folder, *BRIEF["validate"]),
        ("cost", "--config", "deco.yaml", "--checkpoint", folder),
    ):
        refused = command(name, *others, code=1).stderr
        assert "mine.WeightedPool: classes are taken from foveal only" in refused, name
        assert "--allow_import mine" in refused, name
        assert len(refused.splitlines()) <= 4, refused

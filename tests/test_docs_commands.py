"""Every command in README and docs is valid: names, configurations, options."""

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.conftest import TINY

from recipes.command_line.arguments import prepare
from recipes.command_line.spelling import COMMANDS, check_spelling

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
CONFIGURATION = re.compile(r"```yaml\n# (\S+\.yaml)\n(.*?)```", re.DOTALL)
"""A configuration given in full on a page, with its name in the first line."""
MODULE = re.compile(r"\bpython -m ((?:recipes|tools)\.[\w.]*\w)(.*)|-m -- (recipes\.\w+)(.*)")


def commands(page):
    """Module and arguments of every command in a page's code blocks, continued lines joined."""
    found, fenced = [], False
    lines = page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    for line in lines:
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if (fenced or line.startswith("    ")) and (match := MODULE.search(line)):
            module, rest, other, others = match.groups()
            words = shlex.split(re.split(r" [<>|] ", rest or others or "")[0], comments=True)
            found.append((module or other, [word for word in words if word not in ("...", "${RESUME[@]}")]))
    return found


EVERY = [(str(page.relative_to(ROOT)), module, words) for page in PAGES for module, words in commands(page)]


def test_commands_are_found():
    assert {"README.md", "docs/training.md", "docs/scale.md", "docs/uhd.md"} <= {page for page, _, _ in EVERY}
    assert len(EVERY) > 60


@pytest.mark.parametrize(("page", "module", "words"), EVERY)
def test_a_command_of_the_docs(page, module, words, monkeypatch, tmp_path):
    assert find_spec(module) is not None
    package, _, name = module.partition(".")
    monkeypatch.chdir(tmp_path)
    for file, text in CONFIGURATION.findall((ROOT / page).read_text(encoding="utf-8")):
        (tmp_path / file).write_text(text, encoding="utf-8")
    if name in COMMANDS:
        check_spelling(prepare(words).arguments, name)
    elif package == "recipes":
        monkeypatch.setattr(sys, "argv", [module, *words])
        getattr(import_module(module), f"{name}_options")()


@pytest.mark.slow
def test_stop_and_go_on_with_a_configuration_of_ones_own(command, tmp_path):
    """The steps of training.md: an overlay, a folder for the run, a state, `last` with more steps, its checkpoint."""
    (tmp_path / "mine.yaml").write_text("model:\n  connector_lr: 1.0e-3\nstates:\n  every_steps: 1\n")
    first = ("fit", "--config", "uhd.yaml", "--config", "mine.yaml", "--run", "runs/long", "--controls=false")
    command(*first, tiny=True)
    assert [path.name for path in sorted((tmp_path / "runs/long/states").iterdir())] == [
        "step-00000002",
        "step-00000003",
    ]
    tiny = ("--data.pages=12", "--data.val_pages=4", "--data.batch_size=2", "--trainer.accelerator=cpu")
    command(*first, *tiny, "--trainer.max_steps=4", "--ckpt_path", "last")
    done = command("merge_shards", "runs/long/states/step-00000004", "OUT")
    assert done.stdout == "checkpoint: OUT\n"


@pytest.mark.slow
def test_torchrun_as_written(tmp_path):
    """The steps of scale.md; without the `--`, torchrun would read `--run` as one of its own options."""
    words = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "-m", "--", "recipes.fit"]
    words += ["--config", "uhd.yaml", "--config", "scale/fsdp.yaml", "--run", "runs/two", "--controls=false", *TINY]
    done = subprocess.run(
        [sys.executable, *words, "--trainer.devices=2"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (state,) = (tmp_path / "runs/two/states").iterdir()
    assert {path.name for path in state.glob("rank-*")} == {"rank-00000-000.safetensors", "rank-00001-000.safetensors"}


TABLE = (ROOT / "docs/checkpoints.md").read_text(encoding="utf-8").partition("## What is refused")[0]


@pytest.mark.parametrize(("name", "words"), re.findall(r"`python -m recipes\.(\w+) ([^`]+)`", TABLE))
def test_a_command_of_the_table_of_checkpoints(name, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, *shlex.split(words)])
    getattr(import_module(f"recipes.{name}"), f"{name}_options")()


def test_the_table_of_checkpoints_names_every_kind():
    from foveal.models.published.kinds import KINDS

    assert [kind for kind in KINDS if f"`{kind}" not in TABLE and f"{kind}`" not in TABLE] == []

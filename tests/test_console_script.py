"""`foveal COMMAND` is `python -m recipes.COMMAND`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import TINY

import recipes
from recipes.command_line import console_script

SCRIPT = Path(sys.executable).with_name("foveal")


def foveal(*words, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    return subprocess.run(
        [SCRIPT, *words], env=environment, capture_output=True, text=True, check=False, timeout=600, **options
    )


def test_all_commands_are_listed(capsys, monkeypatch):
    found = console_script.commands()
    assert {"fit", "predict", "chat", "evaluate", "merge_shards"} <= found.keys()
    assert not {"module", "metrics", "__init__"} & found.keys()
    assert all(about and "`" not in about for about in found.values())
    monkeypatch.setattr(sys, "argv", ["foveal"])
    console_script.main()
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in found)


def test_the_version(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["foveal", "--version"])
    console_script.main()
    assert capsys.readouterr().out == f"foveal-recipes {recipes.__version__}\n"


@pytest.mark.parametrize(("name", "hint"), [("fitt", "; did you mean fit?"), ("module", ""), ("..os", "")])
def test_a_command_that_is_not_there(name, hint, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["foveal", name])
    with pytest.raises(SystemExit) as end:
        console_script.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == f"error: there is no command {name}{hint}\nfoveal --help lists the commands\n"


def test_options_are_those_of_the_module():
    module = [sys.executable, "-m", "recipes.quantize", "--help"]
    environment = os.environ | {"COLUMNS": "120"}
    assert foveal("quantize", "--help").stdout == subprocess.check_output(module, env=environment, text=True)
    wrong = foveal("quantize")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: ")


@pytest.mark.slow
def test_processes_of_a_training_run_the_same_command(tmp_path):
    """Lightning starts the second one from what it finds in `__main__`."""
    words = ("--config", "uhd.yaml", "--run", "two", "--controls=false", *TINY, "--trainer.devices=2")
    done = foveal("fit", *words, "--data.workers=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "two/checkpoint/config.yaml").is_file()

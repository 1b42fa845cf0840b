"""Every command of tools/bench at its smallest, as a process."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def defines_main(path):
    """Whether the file is a command; the other files are helpers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)


COMMANDS = sorted(path.stem for path in (ROOT / "tools" / "bench").glob("*.py") if defines_main(path))


def test_commands_are_found():
    assert {"answers", "llava", "methods", "step"} <= set(COMMANDS)
    assert not {"__init__", "timing", "published", "default_run"} & set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_its_table(name, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", f"tools.bench.{name}", "--tiny"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    lines = done.stdout.splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("|---")]
    assert rules, done.stdout
    for rule in rules:
        columns = lines[rule].count("|")
        # A name between the bars, and figures, or the reason why there are none.
        assert lines[rule - 1].count("|") == columns
        assert lines[rule + 1].count("|") == columns, lines[rule + 1]
        assert any(character.isdigit() for character in lines[rule + 1])
    assert list(tmp_path.iterdir()) == []

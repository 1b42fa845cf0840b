"""The tool that pins versions."""

import re
import subprocess
import sys
import tomllib

import pytest
from tools.pins import ROOT, locked_versions, resolved, with_pins

LOCK = """
[[package]]
name = "torch"
version = "2.13.0+cpu"
source = { registry = "somewhere" }
[[package]]
name = "foveal-core"
version = "0.1.0"
source = { editable = "packages/core" }
[[package]]
name = "attrs"
version = "1.0"
source = { registry = "somewhere" }
"""
PYPROJECT = 'a = 1\n# pins: begin (by hand)\nconstraint-dependencies = [\n    "old==1",\n]\n# pins: end\nb = 2\n'


def test_versions_of_what_comes_from_outside():
    assert locked_versions(LOCK) == {"attrs": "1.0", "torch": "2.13.0"}


def test_only_the_block_is_replaced():
    replaced = with_pins(PYPROJECT, locked_versions(LOCK))
    assert replaced == PYPROJECT.replace('    "old==1",\n', '    "attrs==1.0",\n    "torch==2.13.0",\n')
    assert with_pins(replaced, locked_versions(LOCK)) == replaced


def test_of_several_versions_the_oldest_runs_everywhere():
    attrs = LOCK[LOCK.rindex("[[package]]") :]
    twice = LOCK.replace('version = "1.0"', 'version = "1.10"') + attrs.replace("1.0", "1.9")
    assert locked_versions(twice)["attrs"] == "1.9"


def test_an_upgrade_that_fails_leaves_the_pins(tmp_path, monkeypatch):
    path, seen = tmp_path / "pyproject.toml", []
    path.write_text(PYPROJECT)

    def fail(command, **options):
        seen.append(path.read_text())
        raise subprocess.CalledProcessError(2, command)

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(subprocess.CalledProcessError):
        resolved(path, upgrade=True)
    assert "old==1" not in seen[0]
    assert path.read_text() == PYPROJECT


def test_a_file_without_the_block():
    with pytest.raises(ValueError, match="found 0"):
        with_pins("a = 1", {})


@pytest.mark.slow
def test_a_file_for_those_who_check_hashes(tmp_path):
    """Every version is the pinned one, has hashes, and comes from wherever pip is told to look."""
    subprocess.run(
        [sys.executable, "-m", "tools.pins", "--hashes", tmp_path / "requirements.txt"], cwd=ROOT, check=True
    )
    written = (tmp_path / "requirements.txt").read_text(encoding="utf-8")
    assert "://" not in written
    assert "foveal" not in written
    assert not re.search(r"^\s*-(?!-hash=sha256:)", written, flags=re.M)
    requirements = re.split(r"\n(?=\S)", written.strip())
    pinned = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["constraint-dependencies"])
    assert {each.split()[0] for each in requirements} <= pinned
    assert all("--hash=sha256:" in each for each in requirements)
    assert {"torch", "transformers", "lightning"} <= {each.partition("==")[0] for each in requirements}

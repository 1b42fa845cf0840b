"""Every package on its own: its wheel imports in an empty environment, and runs its README's example."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from recipes.command_line.console_script import commands

ROOT = Path(__file__).parent.parent
PACKAGES = ("core", "encoders", "connectors", "models", "lmms_eval", "recipes", "reader")
HEAVY = {"transformers", "lightning", "torchvision", "jsonargparse"}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv")]


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A folder with the source distribution of every package, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("wheels")
    for package in PACKAGES:
        run("uv", "build", "--quiet", "--package", f"foveal-{package}", "--out-dir", folder, cwd=ROOT)
    return folder


def environment(folder, wheels, *requirements, interpreter=sys.executable):
    """The Python of a new environment with what is required and the pinned versions of everything else."""
    pins = re.search(r"constraint-dependencies = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.S)[1]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(re.findall(r'"(.+?)"', pins)))
    run("uv", "venv", "--quiet", "--no-python-downloads", "--python", interpreter, folder / "environment")
    python = folder / "environment/bin/python"
    # From outside of the workspace, which would answer for its own packages.
    there = ("--directory", folder, "--find-links", wheels)
    run("uv", "pip", "install", "--quiet", "--python", python, *there, "-c", constraints, *requirements)
    return python


def examples(package):
    """The blocks of Python in a package's README."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "packages" / package / "README.md").read_text(), re.S | re.M)
    assert blocks
    return blocks


def test_an_index_takes_them(wheels):
    """Metadata are valid, and the description can be shown."""
    said = run("uv", "tool", "run", "twine", "check", "--strict", *sorted(wheels.glob("foveal*")))
    assert said.count("PASSED") == 2 * len(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_in_it(package, wheels):
    """The sources and no tests, in the wheel and in the source distribution."""
    (wheel,), (archive,) = (wheels.glob(f"foveal_{package}-*{kind}") for kind in (".whl", ".tar.gz"))
    with tarfile.open(archive) as opened:
        packed = opened.getnames()
    for names in (zipfile.ZipFile(wheel).namelist(), packed):
        assert any(name.endswith("py.typed") for name in names)
        assert not [
            name
            for name in names
            if "tests" in name.split("/") or (name.endswith(".safetensors") and package != "reader")
        ]


@pytest.mark.parametrize("package", PACKAGES)
def test_alone(package, wheels, tmp_path):
    python = environment(tmp_path, wheels, f"foveal-{package}")
    installed = {line.split("==")[0].lower() for line in run("uv", "pip", "freeze", "--python", python).splitlines()}
    if package in ("core", "encoders", "connectors", "reader"):
        assert not installed & HEAVY
    for block in examples(package):
        run(python, "-c", block, cwd=tmp_path)


def interpreter(version):
    """A Python of this version: one on the path, or one of pyenv's that is not."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for found in (version, *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))):
        words = ["uv", "python", "find", "--quiet", "--no-python-downloads", found]
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return found
    pytest.skip(f"there is no Python {version} here")
    return None


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_on_another_python(version, wheels, tmp_path):
    python = environment(tmp_path, wheels, "foveal-recipes", interpreter=interpreter(version))
    for package in ("models", "recipes"):
        for block in examples(package):
            run(python, "-c", block, cwd=tmp_path)
    assert "python -m recipes.predict " in run(python.with_name("foveal"), "predict", "--help")


def test_with_the_lowest_versions_that_are_allowed(wheels, tmp_path):
    settings = [ROOT / "packages" / package / "pyproject.toml" for package in PACKAGES]
    lowest = ("--resolution", "lowest-direct", "--no-sources", "--find-links", wheels, "--directory", tmp_path)
    words = ("--quiet", "--no-header", "--no-annotate", "--output-file", tmp_path / "lowest.txt")
    run("uv", "pip", "compile", *lowest, *words, "--python", sys.executable, *settings)
    run("uv", "venv", "--quiet", "--python", sys.executable, tmp_path / "environment")
    python = tmp_path / "environment/bin/python"
    files = ("--no-deps", "--find-links", wheels, "-r", tmp_path / "lowest.txt", *wheels.glob("*.whl"))
    run("uv", "pip", "install", "--quiet", "--python", python, "--directory", tmp_path, *files)
    for package in PACKAGES:
        for block in examples(package):
            run(python, "-c", block, cwd=tmp_path)


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    """The Python of an environment as a user makes it, with nothing from this checkout."""
    folder = tmp_path_factory.mktemp("installed")
    return environment(folder, wheels, "foveal-recipes[lora]", "foveal-models[quant]")


def test_the_commands_of_an_installation(installed, tmp_path):
    """Run from another folder, without this checkout on the path."""

    def command(name, *words):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return run(installed, "-m", f"recipes.{name}", *words, cwd=tmp_path, env=environment)

    tiny = ("--data.pages=8", "--data.val_pages=2", "--data.batch_size=2", "--trainer.max_steps=2")
    command("fit", "--config", "uhd.yaml", *tiny, "--trainer.accelerator=cpu", "--controls=false", "--run=run")
    page = "from recipes.data.pages import *; draw_page(PageSettings(), 0, 0).image.save('page.png')"
    run(installed, "-c", page, cwd=tmp_path)
    asked = ("--image", "page.png", "--question", "Read.", "--max_new_tokens", "4", "--device", "cpu")
    command("predict", "--checkpoint", "run/checkpoint", *asked)
    assert command("quantize", "run/checkpoint", "small").startswith("14 layers as nf4-dq:")
    assert "holds its parts" in command("export", "run/checkpoint", "parts")
    listed = run(installed.with_name("foveal"), cwd=tmp_path)
    for name in commands():
        assert f"python -m recipes.{name} " in command(name, "--help")
        assert f"  {name} " in listed
    assert (tmp_path / "run/checkpoint/config.yaml").is_file()

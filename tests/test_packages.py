"""Every package on its own: its wheel imports in an empty environment, and runs its README's example."""

import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

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
    folder = tmp_path_factory.mktemp("wheels")
    for package in PACKAGES:
        run("uv", "build", "--quiet", "--wheel", "--package", f"foveal-{package}", "--out-dir", folder, cwd=ROOT)
    return folder


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_in_it(package, wheels, tmp_path):
    """The sources and no tests, in the wheel and in the source distribution."""
    run("uv", "build", "--quiet", "--sdist", "--package", f"foveal-{package}", "--out-dir", tmp_path, cwd=ROOT)
    (wheel,), (archive,) = wheels.glob(f"foveal_{package}-*.whl"), tmp_path.glob("*.tar.gz")
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
    (wheel,) = wheels.glob(f"foveal_{package}-*.whl")
    pins = re.search(r"constraint-dependencies = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.S)[1]
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("\n".join(re.findall(r'"(.+?)"', pins)))
    environment = tmp_path / "environment"
    run("uv", "venv", "--quiet", environment)
    python = environment / "bin" / "python"
    run("uv", "pip", "install", "--quiet", "--python", python, "--find-links", wheels, "-c", constraints, wheel)
    installed = {line.split("==")[0].lower() for line in run("uv", "pip", "freeze", "--python", python).splitlines()}
    if package in ("core", "encoders", "connectors", "reader"):
        assert not installed & HEAVY
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "packages" / package / "README.md").read_text(), re.S | re.M)
    assert blocks
    for block in blocks:
        run(python, "-c", block, cwd=tmp_path)


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory):
    """The Python of an environment with all wheels that the commands need and nothing from this checkout."""
    folder = tmp_path_factory.mktemp("installed")
    pins = re.search(r"constraint-dependencies = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.S)[1]
    (folder / "constraints.txt").write_text("\n".join(re.findall(r'"(.+?)"', pins)))
    run("uv", "venv", "--quiet", folder / "environment")
    python = folder / "environment" / "bin" / "python"
    wheel = [f"{next(wheels.glob('foveal_recipes-*.whl'))}[lora]", f"{next(wheels.glob('foveal_models-*.whl'))}[quant]"]
    run(
        "uv",
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "--find-links",
        wheels,
        "-c",
        folder / "constraints.txt",
        *wheel,
    )
    return python


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
    for name in (
        "fit",
        "validate",
        "cost",
        "predict",
        "chat",
        "compare",
        "merge",
        "merge_shards",
        "quantize",
        "export",
        "convert",
        "serve",
        "shard",
    ):
        assert f"python -m recipes.{name} " in command(name, "--help")
    assert (tmp_path / "run/checkpoint/config.yaml").is_file()

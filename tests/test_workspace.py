"""Rules for every package: import layers, files, versions, links."""

import ast
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("core", "encoders", "connectors", "models", "lmms_eval", "recipes", "reader")
BELOW = {
    "core": set(),
    "encoders": {"core"},
    "connectors": {"core"},
    "models": {"core", "encoders", "connectors"},
    "lmms_eval": {"core", "encoders", "connectors", "models"},
    "recipes": {"core", "encoders", "connectors", "models", "reader"},
    "reader": set(),
}
LIGHT = "foveal.limited_yaml"
"""Comes with foveal-models but lies outside of it: `recipes` reads configurations before it imports torch."""
HEAVY = {"transformers", "lightning", "jsonargparse", "torchvision"}


def sources(package):
    return sorted((ROOT / "packages" / package / "src").rglob("*.py"))


def imported(path):
    """Dotted names imported anywhere in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_down(package):
    assert sources(package)
    for path in sources(package):
        for name in imported(path):
            top, _, rest = name.partition(".")
            if name == LIGHT:
                assert package in ("models", "recipes")
            elif top == "foveal":
                other = rest.split(".")[0]
                assert other == package or other in BELOW[package], f"{path} imports {name}"
            if top == "recipes":
                assert package == "recipes", f"{path} imports {name}"


@pytest.mark.parametrize("package", ["core", "encoders", "connectors", "reader"])
def test_light_packages_import_nothing_heavy(package):
    for path in sources(package):
        assert not {name.split(".")[0] for name in imported(path)} & HEAVY, path


def test_what_reads_yaml_is_light():
    (path,) = (ROOT / "packages/models/src/foveal").glob("*.py")
    assert f"foveal.{path.stem}" == LIGHT
    assert {name.split(".")[0] for name in imported(path)} == {"pathlib", "typing", "yaml"}


@pytest.mark.parametrize("package", PACKAGES)
def test_files_of_a_package(package):
    folder = ROOT / "packages" / package
    for name in ("README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"):
        assert (folder / name).is_file()
    assert list((folder / "src").rglob("py.typed"))
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    version = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (folder / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version
    module = "recipes" if package == "recipes" else f"foveal.{package}"
    assert import_module(module).__version__ == version


@pytest.mark.parametrize("package", PACKAGES)
def test_what_an_index_shows(package):
    project = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())["project"]
    assert project["authors"] == [{"name": "The Foveal maintainers"}]
    assert "vision-language-model" in project["keywords"]
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)} < set(project["classifiers"])
    assert not [name for name in project["classifiers"] if name.startswith("License")]  # the licence's field says it


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_long(package):
    for path in sources(package):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 250, path


@pytest.mark.parametrize("package", PACKAGES)
def test_example_of_the_readme_runs(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "packages" / package / "README.md").read_text(), re.S | re.M)
    assert blocks
    for block in blocks:
        exec(compile(block, f"{package}/README.md", "exec"), {})


def test_links_between_pages():
    pages = [path for path in ROOT.rglob("*.md") if not {".venv", "runs", "dist"} & set(path.relative_to(ROOT).parts)]
    assert len(pages) >= 12
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_reference_data():
    """Reference data is small, readable without running code, and described in the README next to it."""
    folders = [*ROOT.glob("packages/*/tests/golden"), ROOT / "tests" / "golden"]
    assert len(folders) == 6
    size = 0
    for folder in folders:
        about = (folder / "README.md").read_text(encoding="utf-8")
        for path in folder.glob("*/*"):
            assert path.suffix in (".json", ".safetensors"), path
            assert f"`{path.parent.name}/{path.stem}`" in about, path
            size += path.stat().st_size
    assert 5_000_000 < size < 12_000_000


@pytest.mark.parametrize("package", PACKAGES)
def test_no_tests_are_shipped(package):
    build = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build["targets"]["sdist"]["exclude"] == ["/tests"]
    assert build["targets"]["wheel"]["packages"] == ["src/recipes" if package == "recipes" else "src/foveal"]

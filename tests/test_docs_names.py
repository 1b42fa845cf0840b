"""Names used on the pages: classes with their arguments, dotted names, and the pages themselves."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("packages/*/README.md")])
PACKAGES = ("foveal.core", "foveal.encoders", "foveal.connectors", "foveal.models", "recipes.data", "recipes.metrics")


def exported(name):
    """The object that one of the packages exports under a name."""
    found = [getattr(module, name) for module in map(import_module, PACKAGES) if name in module.__all__]
    assert found, f"no package exports {name}"
    return found[0]


def resolved(dotted):
    """The object that a dotted name refers to: a module, or something in one."""
    parts = dotted.split(".")
    for depth in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        for part in parts[depth:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"there is no {dotted}")


def cells(page):
    """First cells of the rows in tables whose first column is titled `class`."""
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("| class |"):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            yield line.split("|")[1].strip()


def in_code(text):
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_dotted_names_are_there(page):
    for code in in_code(page.read_text(encoding="utf-8")):
        for dotted in re.findall(r"^(?:foveal|recipes|tools)(?:\.\w+)+(?=$|\()", code):
            resolved(dotted)


@pytest.mark.parametrize("page", [page for page in PAGES if any(cells(page))], ids=lambda page: page.stem)
def test_classes_in_tables_take_the_arguments_that_are_named(page):
    for cell in cells(page):
        taken = {}
        for code in in_code(cell):
            # A setting alone belongs to the class before it.
            call = ast.parse(f"_({code})" if re.match(r"\w+=", code) else code, mode="eval").body
            named = call.func.id if isinstance(call, ast.Call) else code
            taken = taken if named == "_" else inspect.signature(exported(named)).parameters
            assert {each.arg for each in getattr(call, "keywords", [])} <= taken.keys(), code


def test_there_are_such_tables():
    assert sum(len(list(cells(page))) for page in PAGES) >= 20


def test_the_index_has_every_page():
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\((\w+\.md)\)", index))
    assert linked == {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}


def test_promises_name_tests():
    """Every promise about security names the tests that hold it."""
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    promises = [line for line in page.splitlines() if line.startswith("| ") and "| tests |" not in line]
    tests = "\n".join(
        path.read_text(encoding="utf-8") for path in ROOT.glob("**/test_*.py") if ".venv" not in path.parts
    )
    assert len(promises) > 10
    for line in promises:
        named = re.findall(r"`(test_\w+)`", line)
        assert named, line
        for name in named:
            assert f"def {name}(" in tests, name

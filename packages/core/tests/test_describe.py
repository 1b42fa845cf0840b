"""Parts as plain data and back."""

from fractions import Fraction
from importlib import import_module

import pytest

from foveal.core import KeyMap, build, describe


def test_what_cannot_be_described():
    with pytest.raises(ValueError, match="KeyMap does not keep its argument 'table'"):
        describe(KeyMap({}))


def test_only_allowed_packages_are_imported():
    with pytest.raises(ValueError, match="from foveal only"):
        build({"class_path": "os.system", "init_args": {}})
    with pytest.raises(ValueError, match=r"there is no class foveal\.core\.Nothing"):
        build({"class_path": "foveal.core.Nothing", "init_args": {}})
    with pytest.raises(ValueError, match="is not a class"):
        build({"class_path": "foveal.core.attention", "init_args": {}})
    with pytest.raises(ValueError, match="keys class_path and init_args"):
        build({"class_path": "foveal.core.KeyMap"})


def test_what_a_module_imports_is_not_the_package_s_own():
    with pytest.raises(ValueError, match=r"foveal\.core\.tensors\.Path is pathlib\S*\.Path: classes are taken from"):
        build({"class_path": "foveal.core.tensors.Path", "init_args": {}})


def test_descriptions_that_are_none():
    with pytest.raises(ValueError, match="foveal is a package; name a class in it"):
        build({"class_path": "foveal", "init_args": {}})
    with pytest.raises(ValueError, match="init_args must map names to values, not None"):
        build({"class_path": "foveal.core.KeyMap", "init_args": None})


class Part:
    def __init__(self, sizes: tuple[tuple[int, int], ...]) -> None:
        self.sizes = sizes


def test_tuples_in_tuples_come_back():
    described = describe(Part(((1, 2), (3, 4))))
    assert described["init_args"] == {"sizes": [[1, 2], [3, 4]]}
    package = Part.__module__.split(".")[0]
    assert build(described, allow=(package,)).sizes == ((1, 2), (3, 4))


class Around:
    def __init__(self, inner: Part) -> None:
        self.inner = inner


def test_a_part_inside_of_another():
    described = describe(Around(Part(((1, 2),))))
    assert described["init_args"]["inner"]["init_args"] == {"sizes": [[1, 2]]}
    package = Part.__module__.split(".")[0]
    assert build(described, allow=(package,)).inner.sizes == ((1, 2),)
    for value in (object(), {"a": 1}, Fraction(1, 2), test_arguments_are_checked):
        with pytest.raises(ValueError, match=r"Around\.inner is \w+, not a number, text, part or a sequence"):
            describe(Around(value))


def test_the_shallowest_package_that_exports_a_class_is_named(tmp_path, monkeypatch):
    (tmp_path / "theirs/deep/deeper").mkdir(parents=True)
    for folder, source in (("", "from theirs.deep.deeper.file import Shown\n"), ("deep", ""), ("deep/deeper", "")):
        (tmp_path / "theirs" / folder / "__init__.py").write_text(source)
    (tmp_path / "theirs/deep/deeper/file.py").write_text("class Shown:\n    pass\n\n\nclass Hidden:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    file = import_module("theirs.deep.deeper.file")
    assert describe(file.Shown())["class_path"] == "theirs.Shown"
    assert describe(file.Hidden())["class_path"] == "theirs.deep.deeper.file.Hidden"
    assert isinstance(build(describe(file.Shown()), allow=("theirs",)), file.Shown)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"foveal\.core\.KeyMap: .*'colour'"):
        build({"class_path": "foveal.core.KeyMap", "init_args": {"table": {}, "colour": "red"}})
    fraction = build({"class_path": "fractions.Fraction", "init_args": {"numerator": 3}}, allow=("fractions",))
    assert fraction == Fraction(3)

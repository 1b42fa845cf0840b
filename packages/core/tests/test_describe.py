"""Parts as words and back."""

from fractions import Fraction

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
    with pytest.raises(ValueError, match="is no class"):
        build({"class_path": "foveal.core.attention", "init_args": {}})
    with pytest.raises(ValueError, match="keys class_path and init_args"):
        build({"class_path": "foveal.core.KeyMap"})


def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"foveal\.core\.KeyMap: .*'colour'"):
        build({"class_path": "foveal.core.KeyMap", "init_args": {"table": {}, "colour": "red"}})
    fraction = build({"class_path": "fractions.Fraction", "init_args": {"numerator": 3}}, allow=("fractions",))
    assert fraction == Fraction(3)

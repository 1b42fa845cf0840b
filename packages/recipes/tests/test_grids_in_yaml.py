"""A grid as an argument in configurations: a list, as before, or rows and columns by name."""

from collections.abc import Callable

import jsonargparse
import pytest
import yaml

from foveal.connectors import Connector
from foveal.core import Grid, build, describe

CLASSES = ("CAbstractor", "DAbstractor", "HoneybeeResampler")


@pytest.fixture
def parser():
    made = jsonargparse.ArgumentParser(exit_on_error=False)
    made.add_argument("--connector", type=Callable[[int, int], Connector])
    made.add_argument("--config", action="config")
    return made


def given(name, grid):
    described = {"class_path": f"foveal.connectors.{name}", "init_args": {"base_grid": grid, "hidden_width": 16}}
    return yaml.safe_dump({"connector": described})


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("grid", [[3, 5], {"rows": 3, "columns": 5}])
def test_a_list_or_names(parser, tmp_path, name, grid):
    (tmp_path / "mine.yaml").write_text(given(name, grid))
    settings = parser.parse_args(["--config", str(tmp_path / "mine.yaml")])
    connector = parser.instantiate(settings).connector(8, 16)
    assert connector.base_grid == Grid(rows=3, columns=5)
    assert connector.positions.shape[1] == 15
    (tmp_path / "printed.yaml").write_text(parser.dump(settings))
    again = parser.parse_args(["--config", str(tmp_path / "printed.yaml")])
    assert parser.instantiate(again).connector(8, 16).base_grid == (3, 5)


def test_a_later_file_replaces_either_form(parser, tmp_path):
    forms = {"list": [2, 7], "names": {"rows": 3, "columns": 5}}
    for form, grid in forms.items():
        (tmp_path / f"{form}.yaml").write_text(given("CAbstractor", grid))
    for first, second in (("list", "names"), ("names", "list")):
        paths = [str(tmp_path / f"{form}.yaml") for form in (first, second)]
        settings = parser.parse_args(["--config", paths[0], "--config", paths[1]])
        expected = Grid(3, 5) if second == "names" else Grid(2, 7)
        assert parser.instantiate(settings).connector(8, 16).base_grid == expected


@pytest.mark.parametrize("grid", [[3], [3, 5, 7], [3, "many"], 3, {"rows": 3}, {"rows": 3, "width": 5}])
def test_what_is_no_grid_is_refused(parser, tmp_path, grid):
    (tmp_path / "mine.yaml").write_text(given("CAbstractor", grid))
    with pytest.raises(jsonargparse.ArgumentError, match="base_grid"):
        parser.parse_args(["--config", str(tmp_path / "mine.yaml")])


@pytest.mark.parametrize("name", CLASSES)
def test_checkpoints_hold_a_list_as_ever(name):
    described = {"class_path": f"foveal.connectors.{name}", "init_args": {"in_width": 8, "out_width": 16}}
    described["init_args"] |= {"base_grid": [3, 5], "hidden_width": 16}
    connector = build(described)
    assert connector.base_grid == Grid(rows=3, columns=5)
    assert yaml.safe_load(yaml.safe_dump(describe(connector)))["init_args"]["base_grid"] == [3, 5]

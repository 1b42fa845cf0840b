"""Where the configurations of runs differ."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foveal.limited_yaml import read_yaml

Settings = Mapping[str, str]


def read_settings(path: Path) -> Settings:
    """The settings of a run's `config.yaml`, by dotted names; `init_args`, which says nothing, is left out of them.

    Raises:
        ValueError: if it is not a YAML of settings.
        OSError: if it cannot be read.
    """
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path}: settings are expected, not {type(values).__name__}")
    return dict(_flat("", values))


def differences(runs: Sequence[Settings | None]) -> tuple[dict[str, list[str | None]], int]:
    """The settings that are not the same in all runs, and the number of those that are.

    Args:
        runs: None for a run without a configuration, which is left out of the comparison.

    Returns:
        name -> its value in every run, None where there is none; and the number.
    """
    known = [each for each in runs if each is not None]
    names = list(dict.fromkeys(name for each in known for name in each))
    differing = [name for name in names if len({each.get(name) for each in known}) > 1]
    table = {name: [None if each is None else each.get(name) for each in runs] for name in differing}
    return table, len(names) - len(differing)


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    """Every setting inside of a value, with its name."""
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        inside = list(enumerate(value))
    if not inside:
        return [(prefix, value if isinstance(value, str) else json.dumps(value, default=str))]
    found = []
    for key, each in inside:
        name = prefix if key == "init_args" and prefix else f"{prefix}.{key}" if prefix else f"{key}"
        found += _flat(name, each)
    return found

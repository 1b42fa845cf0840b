"""Read a configuration file, and refuse a broken one with its name and line before the parser sees it."""

from pathlib import Path
from typing import Any

from foveal.limited_yaml import read_yaml
from recipes.command_line.configurations import UsageError, shipped_name


def read_config(path: str) -> dict[Any, Any]:
    """The settings in a configuration file.

    Raises:
        UsageError: naming the file and, if known, the line, if it is not a mapping in YAML.
    """
    name = shipped_name(Path(path))
    try:
        content = read_yaml(Path(path), source=name)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if content is None:
        raise UsageError(f"{name} is empty: leave it out, or write settings into it, like trainer.max_steps: 100")
    if not isinstance(content, dict):
        raise UsageError(f"{name}: expected named settings, like trainer.max_steps: 100, not {content!r:.40}")
    return content

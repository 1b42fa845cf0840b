"""Read a configuration file, and refuse a broken one with its name and line before the parser sees it."""

from pathlib import Path
from typing import Any

import yaml

from recipes.command_line.configurations import UsageError, shipped_name


def read_config(path: str) -> dict[Any, Any]:
    """The settings of a configuration file.

    Raises:
        UsageError: if it is not a mapping in YAML, with the file and, where known, the line.
    """
    name = shipped_name(Path(path))
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text: a configuration is a text file in YAML") from error
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise UsageError(f"{name}{line}: not YAML ({getattr(error, 'problem', None) or error})") from error
    if content is None:
        raise UsageError(f"{name} is empty: leave it out, or write settings into it, like trainer.max_steps: 100")
    if not isinstance(content, dict):
        raise UsageError(f"{name}: expected named settings, like trainer.max_steps: 100, not {content!r:.40}")
    return content

"""Read the JSON files of published folders."""

import json
from pathlib import Path
from typing import Any


def read_json(path: Path) -> Any:
    """The value in a file.

    Raises:
        ValueError: if it is not JSON.
        OSError: if it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a file, by name.

    Raises:
        ValueError: if it is not JSON, or holds something else.
        OSError: if it cannot be read.
    """
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise ValueError(f"{path} is not a configuration: it holds {type(settings).__name__}")
    return settings

"""Read a file that holds one JSON value."""

import json
from pathlib import Path
from typing import Any


def read_value(path: Path) -> Any:
    """The value.

    Raises:
        ValueError: naming the file, if it is not JSON.
        OSError: if it cannot be read.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error!s:.200})") from error


def read_object(path: Path) -> dict[str, Any]:
    """The value, which must be an object.

    Raises:
        ValueError: naming the file, if it is not JSON or another value.
        OSError: if it cannot be read.
    """
    value = read_value(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: an object is expected, not a {type(value).__name__}")
    return value

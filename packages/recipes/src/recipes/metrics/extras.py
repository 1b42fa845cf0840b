"""Libraries of the extra `metrics`, imported when a metric needs them."""

from importlib import import_module
from typing import Any


def library(name: str) -> Any:
    """Import a module of the extra.

    Raises:
        ImportError: naming the extra, if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"this metric needs {name.split('.')[0]}: pip install 'foveal-recipes[metrics]'") from error

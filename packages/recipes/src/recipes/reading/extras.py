"""Import libraries that only some kinds of data need."""

from importlib import import_module
from types import ModuleType


def extra(module: str, name: str, purpose: str) -> ModuleType:
    """Import a module of an optional dependency.

    Args:
        module: its full name.
        name: the extra of foveal-recipes that installs it.
        purpose: what it is needed for, in a few words.

    Raises:
        ImportError: naming the extra, if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f"{purpose} needs {package}: pip install 'foveal-recipes[{name}]'") from error

"""Refuse what configurations may not name: they may have been downloaded, and what they name is called.

The rule, for whatever is named:

- of Foveal: public classes, and public functions that are declared to return a part
- of `ALLOWED_IMPORTS`: public classes
- of packages allowed on the command line: everything
- of files and folders: those of this machine, no URLs
"""

import inspect
import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from types import ModuleType
from typing import Any, get_type_hints

from recipes.command_line.arguments import ALLOWED_IMPORTS, FOVEAL
from recipes.command_line.imports import ImportsError, is_within
from recipes.command_line.local_paths import ADVICE, is_remote

TEXTS = ("system", "logger")
"""Settings that may be URLs: a prompt, and the servers of loggers."""
PUBLIC = ("foveal.core", "foveal.encoders", "foveal.connectors", "foveal.models", "recipes.data", "recipes.sharding")
"""Packages whose `__all__` is for configurations."""


def refuse_unmeant(settings: Any, packages: Sequence[str]) -> None:
    """Refuse a parsed configuration that names anything else than the rule above allows, before anything is built.

    Args:
        settings: parsed, with all arguments that have defaults.
        packages: those allowed on the command line.

    Raises:
        ImportsError: naming the setting and the object.
    """
    _check(settings, packages, ())


def _check(value: Any, packages: Sequence[str], keys: tuple[str, ...]) -> None:
    if isinstance(value, list | tuple):
        for place, each in enumerate(value):
            _check(each, packages, (*keys, f"[{place}]"))
    elif isinstance(value, Mapping | Namespace):
        # Iterating over jsonargparse's namespace descends into nested values; `vars` does not.
        inside: Mapping[str, Any] = vars(value) if isinstance(value, Namespace) else value
        defaults: dict[str, Any] = {}
        if isinstance(path := inside.get("class_path"), str):
            named = named_object(path)
            _refuse(named, path, packages, keys)
            defaults = _defaults(named)
        for key, each in inside.items():
            if key == "init_args" and isinstance(each, Mapping | Namespace):
                given = vars(each) if isinstance(each, Namespace) else each
                each = {name: it for name, it in given.items() if name not in defaults or it is not defaults[name]}
            _check(each, packages, keys if key == "init_args" else (*keys, str(key)))
    elif isinstance(value, str):
        if is_remote(value) and not any(key in TEXTS for key in keys):
            raise ImportsError(f"{_said(keys)}: {value} is a URL; {ADVICE}")
    elif isinstance(value, ModuleType) or (callable(value) and not isinstance(value, os.PathLike)):
        # Where a function is expected, the parser replaces its name by the function itself.
        _refuse(value, f"{_home(value)}.{getattr(value, '__qualname__', '')}".rstrip("."), packages, keys)


def _refuse(named: Any, path: str, packages: Sequence[str], keys: tuple[str, ...]) -> None:
    home = _home(named)
    if is_within(home, packages) or (is_within(path, packages) and is_within(home, ALLOWED_IMPORTS)):
        return
    is_class, package = inspect.isclass(named), home.partition(".")[0]
    advice = ""
    if package in FOVEAL:
        meant = any(named is each for each in _public()) and (is_class or _returns_part(named))
        rule = "of Foveal, a configuration names public parts and the functions that make them"
    else:
        private = any(name.startswith("_") for name in path.split("."))
        meant = is_class and not private and is_within(home, ALLOWED_IMPORTS)
        rule = f"of {package}, a configuration names public classes of some modules only"
        advice = f"; add --allow_import {home} if you trust what it does"
    if not meant:
        raise ImportsError(f"{_said(keys)}: {path} is refused: {rule}{advice}")


def _said(keys: Sequence[str]) -> str:
    return ".".join(keys).replace(".[", "[")


@cache
def _public() -> list[Any]:
    """Everything that a configuration may name of Foveal."""
    return [getattr(module, name) for module in map(import_module, PUBLIC) for name in module.__all__]


def _returns_part(function: Any) -> bool:
    """Whether a function is declared to return a part: a module, a plan or a tokenizer."""
    from torch.nn import Module
    from transformers import PreTrainedTokenizerBase

    from foveal.models import ViewPlan

    returned = get_type_hints(function).get("return") if inspect.isfunction(function) else None
    return inspect.isclass(returned) and issubclass(returned, Module | PreTrainedTokenizerBase | ViewPlan)


def named_object(path: str) -> Any:
    """The object of a class path; None if there is none. The parser has imported its module."""
    module, _, name = path.rpartition(".")
    if module in sys.modules:
        return getattr(sys.modules[module], name, None)
    outer = named_object(module) if "." in module else None
    return getattr(outer, name, None)


def _home(named: Any) -> str:
    """The module in which an object, or else its class, is defined; of a `partial`, that of its function."""
    if isinstance(named, partial):
        return _home(named.func)
    if isinstance(named, ModuleType):
        return named.__name__
    return str(getattr(named, "__module__", None) or type(named).__module__)


def _defaults(named: Any) -> dict[str, Any]:
    """The defaults of a class or function: they come from code."""
    try:
        return {name: each.default for name, each in inspect.signature(named).parameters.items()}
    except (TypeError, ValueError):
        return {}

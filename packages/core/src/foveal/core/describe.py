"""Describe parts as plain data (class and arguments), and build them again.

By convention a part keeps every argument of its constructor in an attribute of the same name. An argument may itself be
a part, or a list of parts.
"""

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from torch import nn

from foveal.core.annotations import check_values, hints_of


def describe(part: object) -> dict[str, Any]:
    """Describe a part as `{"class_path": ..., "init_args": {...}}` with plain values, as in a configuration.

    Raises:
        ValueError: if a constructor argument has no attribute of the same name, or is not a plain value.
    """
    kind = type(part)
    arguments = {}
    for name in inspect.signature(kind).parameters:
        if not hasattr(part, name):
            raise ValueError(f"{kind.__qualname__} does not keep its argument {name!r} as an attribute")
        arguments[name] = _plain(getattr(part, name), f"{kind.__qualname__}.{name}")
    return {"class_path": _public_path(kind), "init_args": arguments}


def build(description: Mapping[str, Any], *, allow: Sequence[str] = ("foveal",)) -> Any:
    """Build the part that `describe` described.

    Args:
        description: `class_path` and `init_args`.
        allow: packages and modules whose classes may be used, with everything inside them; others are not even
            imported.

    Raises:
        ValueError: if the description is malformed, names a class that is not allowed or does not exist, or has
            arguments that the class does not take, or values of the wrong type.
    """
    if not isinstance(description, Mapping) or set(description) != {"class_path", "init_args"}:
        raise ValueError(f"a description has the keys class_path and init_args, not {description!r}")
    path, given = str(description["class_path"]), description["init_args"]
    module_name, _, name = path.rpartition(".")
    if not _within(path, allow):
        raise ValueError(_refusal(path, path, allow))
    if not module_name:
        raise ValueError(f"{path} is a package; name a class in it, such as foveal.encoders.VisionTransformer")
    if not isinstance(given, Mapping):
        raise ValueError(f"{path}: init_args must map names to values, not {given!r}")
    try:
        kind = getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no class {path} ({error})") from error
    if not inspect.isclass(kind):
        raise ValueError(f"{path} is not a class")
    # A module also exposes what it imports; accepting that would open every package that an allowed one uses.
    if not _within(kind.__module__, allow):
        raise ValueError(_refusal(f"{path} is {kind.__module__}.{name}", kind.__module__, allow))
    arguments = {key: _built(value, allow) for key, value in given.items()}
    try:
        inspect.signature(kind).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error
    check_values(hints_of(kind), arguments, source=path)
    return kind(**arguments)


def _public_path(kind: type) -> str:
    """The path through the shallowest package that exports the class, not the defining file, so that files may move."""
    names = kind.__module__.split(".")
    for depth in range(1, len(names)):
        package = ".".join(names[:depth])
        # A namespace package, such as foveal, exports nothing; importing it is harmless.
        if getattr(import_module(package), kind.__qualname__, None) is kind:
            return f"{package}.{kind.__qualname__}"
    return f"{kind.__module__}.{kind.__qualname__}"


def _within(path: str, allow: Sequence[str]) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in allow)


def _refusal(what: str, path: str, allow: Sequence[str]) -> str:
    package = path.partition(".")[0]
    return (
        f"{what}: classes are taken from {', '.join(allow)} only; if you trust the package {package}, allow it: "
        f"--allow_import {package} on a command line, allow=[{package!r}] in Python"
    )


def _built(value: Any, allow: Sequence[str]) -> Any:
    """Turn lists into tuples, and descriptions into the parts they describe."""
    if isinstance(value, list):
        return tuple(_built(item, allow) for item in value)
    described = isinstance(value, Mapping) and set(value) == {"class_path", "init_args"}
    return build(value, allow=allow) if described else value


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | nn.ModuleList):
        return [_plain(item, where) for item in value]
    if isinstance(value, nn.Module) or _keeps_arguments(value):
        return describe(value)
    raise ValueError(f"{where} is {type(value).__name__}, not a number, text, part or a sequence of these")


def _keeps_arguments(value: object) -> bool:
    """Whether a value without weights is a part, such as a plan inside of another one."""
    try:
        parameters = inspect.signature(type(value)).parameters
    except (ValueError, TypeError):  # of a class that is not written in Python
        return False
    return bool(parameters) and all(hasattr(value, name) for name in parameters)

"""Describe in words what a setting accepts, and check whether it accepts a value."""

import inspect
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser

NAMED = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "null"}
SHOWN = ("foveal.encoders", "foveal.connectors", "foveal.models", "recipes.data")
"""Packages whose public parts are suggested."""


def members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; any other type is its own only member."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def classes_of(annotation: Any) -> list[type]:
    """The classes whose subclasses a setting may name, or functions that return one."""
    made = [get_args(each)[-1] if get_origin(each) is Callable else each for each in members(annotation)]
    return [each for each in made if inspect.isclass(each) and each not in NAMED and get_origin(each) is None]


def given_in_calls(annotation: Any) -> int:
    """The number of arguments that the caller of a factory passes, which are not settings."""
    return max((len(get_args(each)[0]) for each in members(annotation) if get_origin(each) is Callable), default=0)


def inner(annotation: Any, key: str) -> Any:
    """The type of the entries of a list or mapping; None if the type is neither."""
    for each in members(annotation):
        origin, arguments = get_origin(each), get_args(each)
        if inspect.isclass(origin) and arguments:
            if issubclass(origin, Mapping):
                return arguments[1]
            if key.startswith("[") and issubclass(origin, Iterable):
                return arguments[0]
    return None


def takes(part: Any) -> dict[str, tuple[Any, bool]]:
    """The arguments of a class or function: name -> (type, whether it is required). Empty if they are unclear."""
    called = part.__init__ if inspect.isclass(part) else part
    try:
        hints, signature = get_type_hints(called), inspect.signature(called)
    except (NameError, TypeError, ValueError):
        return {}
    named = list(signature.parameters.values())[1 if inspect.isclass(part) else 0 :]
    return {
        each.name: (hints.get(each.name, inspect.Parameter.empty), each.default is inspect.Parameter.empty)
        for each in named
        if each.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    }


def accepts(annotation: Any, value: Any) -> bool:
    """Whether the parser accepts `value` for a setting of this type."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--it", type=annotation)
    try:
        parser.parse_object({"it": value})
    except ArgumentError:
        return False
    return True


def described(annotation: Any) -> str:
    """Describe a type in words."""
    words = [str(word) for each in members(annotation) if get_origin(each) is Literal for word in get_args(each)]
    named = [f"one of {', '.join(dict.fromkeys(words))}"] if words else []
    return " or ".join([*named, *(_described(each) for each in members(annotation) if get_origin(each) is not Literal)])


def _described(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)}: {', '.join(map(described, arguments))}"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a mapping"
    if inspect.isclass(origin) and issubclass(origin, Iterable):
        return "a list"
    if classes := classes_of(annotation):
        return f"the class_path of {a(classes[0].__name__)}" if not is_dataclass(classes[0]) else "a mapping"
    return NAMED.get(annotation, str(annotation))


def a(name: str) -> str:
    """A noun with its article."""
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def parts(wanted: Iterable[type]) -> list[str]:
    """Class paths of Foveal's public parts: concrete subclasses of one in `wanted`, and functions that return one."""
    found = []
    for package in SHOWN:
        module = import_module(package)
        found += [f"{package}.{name}" for name in module.__all__ if makes(getattr(module, name), wanted)]
    return found


def makes(part: Any, wanted: Iterable[type]) -> bool:
    """Whether a class is a concrete subclass of one in `wanted`, or a function is declared to return one."""
    if inspect.isfunction(part):
        try:
            part = get_type_hints(part).get("return")
        except NameError:
            return False
        return inspect.isclass(part) and issubclass(part, tuple(wanted))
    return inspect.isclass(part) and issubclass(part, tuple(wanted)) and not inspect.isabstract(part)

"""Explain why the parser refused the command line: which setting, where it is, and what is expected."""

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from os.path import isfile
from pathlib import Path
from typing import Any, get_args

from recipes.command_line.arguments import ALLOWED_IMPORTS
from recipes.command_line.configurations import shipped_methods
from recipes.command_line.docstrings import arguments as documented
from recipes.command_line.imports import is_within
from recipes.command_line.spelling import Keys, Setting, settings_of
from recipes.commands.expected import (
    a,
    accepts,
    classes_of,
    described,
    given_in_calls,
    inner,
    makes,
    members,
    parts,
    takes,
)

SUGGESTED = 3
"""Number of parts suggested if none is similar to the given one."""
UNKNOWN = "unrecognized arguments: "
NOISE = re.compile(
    "Does not validate|Subtypes:|Errors:|Given value|Expected a (path but|<class 'NoneType'>)|Problem with given class"
)

UNCALLABLE = re.compile("Expected '(.+?)' to be a class that instantiates into callable")
DENIED = re.compile("Importing '(.+?)' is not allowed")
"""The parser's message about a name, as given or as defined, outside of the allowed packages."""


def explained(arguments: Sequence[str], types: Mapping[str, tuple[Any, bool]], allowed: set[str]) -> str:
    """Describe the first setting that is wrong or missing; empty if all are fine.

    Args:
        arguments: as `prepare` returns them.
        types: for every setting that is an option of the parser, such as `model.network`: its type, and whether it is
            required.
        allowed: names of packages that class paths may import.
    """
    settings = list(settings_of(arguments))
    known = _Known(types, allowed)
    for setting in settings:
        if reason := known.problem(setting):
            where = f"{setting.where}: " if setting.where else ""
            return f"{where}{'' if where else '--'}{'.'.join(setting.keys)}: {reason}"
    return known.missing({setting.place for setting in settings})


def unannotated(settings: Any, place: str = "") -> str:
    """Describe the first custom part whose required argument has no type annotation; the parser would leave it out.

    Args:
        settings: as parsed.
        place: key path of `settings`.
    """
    if isinstance(settings, list):
        return next(filter(None, (unannotated(each, place) for each in settings)), "")
    if not isinstance(settings, dict):
        return ""
    path, given = settings.get("class_path"), dict(settings.get("init_args") or {})
    if isinstance(path, str) and not is_within(path, ALLOWED_IMPORTS):
        module, _, name = path.rpartition(".")
        # The parser has already imported everything that may be imported; import nothing else.
        part = getattr(sys.modules.get(module), name, None)
        for argument, (kind, is_required) in takes(part).items() if callable(part) else ():
            by_us = argument in ("in_width", "out_width")  # a connector's widths, which the model passes
            if is_required and kind is inspect.Parameter.empty and not by_us and given.get(argument) is None:
                return f"{place}: {argument} of {path} has no type: annotate it, as in `{argument}: int`"
    inside = ((value, place if key == "init_args" else f"{place}.{key}".strip(".")) for key, value in settings.items())
    return next(filter(None, (unannotated(value, name) for value, name in inside)), "")


def shortened(message: str) -> str:
    """The parser's message without its jargon."""
    if message.startswith(UNKNOWN):
        return f"unexpected argument: {message.removeprefix(UNKNOWN)}; settings are typed as --NAME VALUE"
    keys = re.findall(r'Parser key "(.+?)"', message)
    if denied := DENIED.search(message):
        return ": ".join([*keys[-1:], not_imported(denied[1])])
    if refused := UNCALLABLE.search(message):
        return ": ".join([*keys[-1:], f"{refused[1]} is not a function"])
    lines = [re.sub(r'Parser key ".+?":|Got value: .*', "", line).strip(" -") for line in message.splitlines()]
    reasons = [line for line in lines if line and not NOISE.match(line)]
    return "; ".join([*keys[-1:], *reasons[:SUGGESTED]])


def not_imported(path: str) -> str:
    """Describe what a configuration names outside of the packages that it may import from."""
    package = path.partition(".")[0]
    # Of a package that is partly allowed, such as torch, only the module should be added.
    name = path.rpartition(".")[0] if any(each.startswith(package) for each in ALLOWED_IMPORTS) else package
    return f"{path} is not imported: add --allow_import {name} if you trust what it does"


class _Known:
    """Types of settings, derived from the classes named so far."""

    def __init__(self, types: Mapping[str, tuple[Any, bool]], allowed: set[str]) -> None:
        self.types, self.allowed = types, allowed
        self.named: dict[Keys, Any] = {}

    def problem(self, setting: Setting) -> str:
        """What is wrong with a setting's value; empty if nothing is."""
        place, value = setting.place, setting.value
        if place[-1] == "class_path":
            place, value = place[:-1], {"class_path": value}
        annotation = self.expected(place)
        if annotation is None and isinstance(value, str | int | float) and self._is_group(place):
            return "" if isfile(str(value)) else f"{value!r:.100} is not a mapping of settings"
        if annotation in (None, Any, inspect.Parameter.empty):
            return ""
        path = value.get("class_path") if isinstance(value, dict) else value
        classes = classes_of(annotation)
        if classes and isinstance(path, str) and not isfile(path):
            problem = self._problem_of_class(place, path, classes)
            return "" if isinstance(value, str) and str in members(annotation) else problem
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, dict) for each in value)):
            return ""  # its contents are separate settings
        if accepts(annotation, value) or (not setting.where and accepts(annotation, str(value))):
            return ""
        words = [str(word) for each in members(annotation) for word in get_args(each)]
        near = get_close_matches(str(value), words, n=1)
        return f"{value!r:.100} is not {described(annotation)}" + (f"; did you mean {near[0]}?" if near else "")

    def expected(self, place: Keys) -> Any:
        """The type of a setting; None if unknown."""
        for depth in range(len(place), 0, -1):
            if (name := ".".join(place[:depth])) in self.types:
                annotation = self.types[name][0]
                break
        else:
            return None
        while depth < len(place):
            key, part = place[depth], self._part(place[:depth], annotation)
            if part is not None:
                annotation = takes(part).get(key, (None, False))[0]
                depth += 1
            elif (entry := inner(annotation, key)) is not None:
                # Names in a mapping may contain dots.
                annotation, depth = entry, depth + 1 if key.startswith("[") else len(place)
            else:
                return None
        return annotation

    def missing(self, given: set[Keys]) -> str:
        """Describe the first required setting that is not given; empty if there is none."""
        for name, (annotation, is_required) in self.types.items():
            keys = tuple(name.split("."))
            if is_required and not any(place[: len(keys)] == keys for place in given):
                return (
                    f"--{name} is missing, {described(annotation)}: begin with the configuration of a method, such as "
                    f"--config uhd.yaml; there are {', '.join(shipped_methods())}"
                )
        for place, part in self.named.items():
            arguments = list(takes(part).items())[given_in_calls(self.expected(place)) :]
            for argument, (_, is_required) in arguments:
                if is_required and not any(each[: len(place) + 1] == (*place, argument) for each in given):
                    said = documented(inspect.getdoc(part)).get(argument)
                    missing = f"--{'.'.join((*place, argument))} is missing: {part.__name__} needs it"
                    return f"{missing} ({said})" if said else missing
        return ""

    def _is_group(self, place: Keys) -> bool:
        return any(name.startswith(f"{'.'.join(place)}.") for name in self.types)

    def _part(self, place: Keys, annotation: Any) -> Any:
        if place in self.named:
            return self.named[place]
        classes = [each for each in classes_of(annotation) if not inspect.isabstract(each)]
        return classes[0] if len(classes) == 1 else None

    def _problem_of_class(self, place: Keys, path: str, wanted: list[type]) -> str:
        """What is wrong with a class path; empty if nothing is, and the class is then remembered."""
        expected = a(" or ".join(each.__name__ for each in wanted))
        like = parts(wanted)
        module, _, name = path.rpartition(".")
        if not module:
            if (full := next((each for each in like if each.endswith(f".{name}")), None)) is None:
                return f"{path!r:.100} is not the class path of {expected}{_nearest(path, like) or _some(like)}"
            module, _, name = full.rpartition(".")
        if module and "." in path and not is_within(path, self.allowed):
            return not_imported(path)
        try:
            part = getattr(import_module(module), name, None)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                return f"{module} cannot be imported: {error}"
            return f"there is no module {error.name}{_nearest(path, like)}"
        except SyntaxError as error:
            file = Path(error.filename or module).name
            return f"{module} cannot be imported: {file}, line {error.lineno}: SyntaxError: {error.msg}"
        except Exception as error:  # a user's module may raise anything
            return f"{module} cannot be imported: {type(error).__name__}: {error}"
        if part is None:
            found = _nearest(path, like if is_within(path, ALLOWED_IMPORTS) else _parts(module)) or _some(like)
            return f"there is no {name} in {module}{found}"
        if inspect.isabstract(part):
            lacking = ", ".join(sorted(part.__abstractmethods__))
            return f"{path} cannot be built: it has no {lacking}{_some(like)}"
        if not makes(part, wanted):
            return f"{path} is {_what(part)}; {expected} is needed{_some(like)}"
        for inside in [each for each in self.named if each[: len(place)] == place]:
            del self.named[inside]  # the new class has its own settings
        self.named[place] = part
        return ""


def _what(part: Any) -> str:
    if inspect.isclass(part):
        # The last is the kind that users know, such as Connector; those before it are shared by some of its classes.
        bases = [each.__name__ for each in part.__mro__[1:] if inspect.isabstract(each)]
        return a(bases[-1]) if bases else "a class of another kind"
    if not callable(part):
        return f"of type {type(part).__name__}"
    returned = inspect.signature(part).return_annotation
    if returned is inspect.Signature.empty:
        return "a function without a return type"
    return f"a function that returns {a(getattr(returned, '__name__', str(returned)))}"


def _nearest(path: str, names: Sequence[str]) -> str:
    by_name = {name.rpartition(".")[2]: name for name in names}
    short = path.rpartition(".")[2]
    begun = [name for name in by_name if name.lower().startswith(short.lower())]
    near = [by_name[each] for each in begun] or get_close_matches(path, names, n=1)
    near = near or [by_name[each] for each in get_close_matches(short, by_name, n=1)]
    return f"; did you mean {near[0]}?" if near else ""


def _some(names: Sequence[str]) -> str:
    return f", such as {', '.join(names[:SUGGESTED])}" if names else ""


def _parts(module: str) -> list[str]:
    found = vars(import_module(module))
    return [f"{module}.{name}" for name, part in found.items() if inspect.isclass(part) or inspect.isfunction(part)]

"""Find misspelt settings at once: importing the parser, which knows all settings, takes ten seconds.

The parser may still refuse what is accepted here, but never the other way round: if the sources do not determine the
names, nothing is refused.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from os.path import isfile
from pathlib import Path
from typing import Any

from foveal.limited_yaml import load_yaml
from recipes.command_line.config_file import read_config
from recipes.command_line.configurations import EXTENDS, UsageError, shipped_name
from recipes.command_line.sources import Parameter, Parameters, class_parameters, parameters, parsed

FIT = ("recipes.commands.lightning_cli", "recipes.commands.measuring", "recipes.commands.fit")
COMMANDS = {
    "fit": FIT,
    "validate": ("recipes.commands.lightning_cli", "recipes.commands.measuring"),
    "check": FIT,
    "cost": (*FIT, "recipes.commands.cost"),
    "look": (*FIT, "recipes.commands.look"),
}
"""For every command, the modules whose `add_arguments_to_parser` adds options."""
CLASSES = {"trainer": ("lightning.pytorch.trainer.trainer", "Trainer"), "model": ("recipes.module", "Finetuning")}
OTHERS = ("config", "seed_everything", "data")
"""Names that LightningCLI adds to those of `CLASSES`."""
TYPED = ("help", "print_config", "print_shtab", "checkpoint", "allow_import")
"""Names that only the command line takes; the last two are removed before parsing."""
INSIDE = ("class_path", "init_args", "dict_kwargs", "help")
"""Keys between a setting and the settings of its class."""
OPTION = re.compile(r"--([A-Za-z_]\w*(?:[.-]\w+)*)(\+?)(?:=(.*))?", re.DOTALL)
LISTED = 12
"""Most names listed when none is similar to the misspelt one."""

Keys = tuple[str, ...]


class Setting:
    """A setting from the command line or a file.

    Args:
        keys: its path of names, outermost first.
        value: as loaded from YAML.
        where: the file, as a prefix for messages; empty for the command line.
    """

    def __init__(self, keys: Keys, value: Any, where: str) -> None:
        self.keys, self.value, self.where = keys, value, where

    @property
    def place(self) -> Keys:
        """`keys` without `init_args`, which can be left out."""
        return tuple(key for key in self.keys if key != "init_args")


def check_spelling(arguments: Sequence[str], command: str) -> None:
    """Refuse a setting that no parser would accept.

    Args:
        arguments: as `prepare` returns them.
        command: one of `COMMANDS`.

    Raises:
        UsageError: naming the setting's location and the most similar name.
    """
    settings = list(settings_of(arguments))
    classes: dict[Keys, set[str]] = {}
    for setting in settings:
        # `init_args` outside of any class is no place; it is refused below.
        if setting.place and isinstance(setting.value, str):
            place = setting.place[:-1] if setting.place[-1] == "class_path" else setting.place
            classes.setdefault(place, set()).add(_full_name(place, setting.value))
    if any(setting.where and setting.keys == ("config",) and setting.value for setting in settings):
        # A file includes another file, which is not read here.
        return
    top = _top(command)
    for setting in settings:
        _check(setting, top, classes)


def settings_of(arguments: Sequence[str]) -> Iterator[Setting]:
    """The settings on the command line and in its files, each mapping before its contents.

    Args:
        arguments: as `prepare` returns them.

    Raises:
        UsageError: as for `read_config`.
    """
    rest = list(arguments)
    while rest:
        if (typed := OPTION.fullmatch(rest.pop(0))) is None:
            continue
        name, _, text = typed.groups()
        # The parser takes anything with a space as a value, however it begins.
        if text is None and rest and (" " in rest[0] or OPTION.fullmatch(rest[0]) is None):
            text = rest.pop(0)
        value = _loaded(text or "")
        yield from _inner(Setting(tuple(name.split(".")), value, ""))
        if "config".startswith(name) and text is not None and isfile(text):
            own = {key: value for key, value in read_config(text).items() if key != EXTENDS}
            yield from _entries((), own, shipped_name(Path(text)))


def _inner(setting: Setting) -> Iterator[Setting]:
    yield setting
    if isinstance(setting.value, dict):
        yield from _entries(setting.keys, setting.value, setting.where)
    elif isinstance(setting.value, list):
        for place, each in enumerate(setting.value):
            if isinstance(each, dict):
                yield from _inner(Setting((*setting.keys, f"[{place}]"), each, setting.where))


def _entries(keys: Keys, mapping: Mapping[Any, Any], where: str) -> Iterator[Setting]:
    for key, value in mapping.items():
        if isinstance(key, str):
            yield from _inner(Setting((*keys, *key.removesuffix("+").split(".")), value, where))


def _loaded(text: str) -> Any:
    try:
        return load_yaml(text, source="")
    except ValueError:
        return text


def _full_name(place: Keys, name: str) -> str:
    """The importable name of a class; the parser also takes our data modules by their bare names."""
    return f"recipes.data.{name}" if place == ("data",) and "." not in name else name


@cache
def _top(command: str) -> Parameters:
    """The outermost settings."""
    top = {name: Parameter("") for name in OTHERS}
    for name, (module, of) in CLASSES.items():
        top[name] = Parameter(module, ast.Name(of))
    for module in COMMANDS[command]:
        top |= dict(_added(module))
    return top


def _added(module: str) -> Iterator[tuple[str, Parameter]]:
    """Options that a module's code adds to the parser."""
    tree = parsed(module)
    for node in () if tree is None else ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="add_argument"), args=[ast.Constant(value=str(option)), *_]):
                types = [word.value for word in node.keywords if word.arg == "type"]
                name, _, deeper = option.removeprefix("--").partition(".")
                yield name, Parameter(module, types[0] if types and not deeper else None)
            case ast.Call(func=ast.Attribute(attr=adds), args=[of, ast.Constant(value=str(name))]):
                if adds in ("add_class_arguments", "add_dataclass_arguments", "add_lightning_class_args"):
                    yield name, Parameter(module, of)


def _check(setting: Setting, top: Parameters, classes: Mapping[Keys, set[str]]) -> None:
    """Check a setting name by name, as far as the possible names are known."""
    known: Parameters | None = top
    for depth, key in enumerate(setting.keys):
        if depth and key in INSIDE:
            if key != "init_args":
                return
            continue
        candidates: list[Parameter] = []
        # Every entry of a list names its own class.
        if not key.startswith("["):
            if known is None or key.startswith("__") or _is_short(setting, depth, known):
                return
            if key not in known:
                raise UsageError(_message(setting, depth, known))
            candidates = [known[key]]
        known = _inside(Setting(setting.keys[: depth + 1], None, "").place, candidates, classes)


def _inside(place: Keys, candidates: Sequence[Parameter], classes: Mapping[Keys, set[str]]) -> Parameters | None:
    """The parameters of all classes that are named for a setting or by its type; None if unknown."""
    named = [parameters(name) for name in classes.get(place, ())]
    declared = [class_parameters(candidate) for candidate in candidates]
    if not named:
        named = declared
    merged: dict[str, Parameter] = {}
    for each in named:
        if each is None:
            return None
        merged |= each
    for each in declared:
        merged = {**(each or {}), **merged}
    return merged or None


def _is_short(setting: Setting, depth: int, known: Parameters) -> bool:
    """Whether a name is only for the command line, or may be an abbreviated option, which the parser accepts."""
    key = setting.keys[depth]
    if setting.where or depth > 1:
        return False
    if depth == 0 and key in TYPED:
        return True
    names = [*known, "help"] if depth else [*known, *TYPED[:3]]
    return key not in known and depth == len(setting.keys) - 1 and any(name.startswith(key) for name in names)


def _message(setting: Setting, depth: int, known: Parameters) -> str:
    names: dict[str, Keys] = {name: (name,) for name in known}
    if not depth:
        if not setting.where:
            names |= {name: (name,) for name in TYPED}
        for outer, (module, of) in CLASSES.items():
            for name in parameters(f"{module}.{of}") or ():
                names.setdefault(name, (outer, name))
    dashes = "" if setting.where else "--"
    place = f"{setting.where}: " if setting.where else ""
    message = f"{place}{dashes}{'.'.join(setting.keys)}: there is no setting {setting.keys[depth]}"
    if near := get_close_matches(setting.keys[depth], names, n=1):
        meant = (*setting.keys[:depth], *names[near[0]], *setting.keys[depth + 1 :])
        return f"{message}; did you mean {dashes}{'.'.join(meant)}?"
    return f"{message}; there are {', '.join(names)}" if len(names) <= LISTED else message

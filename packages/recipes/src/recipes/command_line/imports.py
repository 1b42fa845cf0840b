"""Packages beside Foveal from which classes may be taken: the names that were typed, and where they are handed on."""

import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class ImportsError(ValueError):
    """A configuration allows more than was typed."""


def package(name: str) -> str:
    """The name of a package or module, as `--allow_import` takes it.

    Raises:
        argparse.ArgumentTypeError: if it is none, or belongs to the parser itself.
    """
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts) or parts[-1] == "py" or parts[0] == "jsonargparse":
        raise ArgumentTypeError(f"{name!r} is no package to import classes from, as `mine` is for mine.py or mine/")
    return name


def allow_in(settings: Any, packages: Sequence[str]) -> None:
    """Let whatever opens a checkpoint in a parsed configuration take classes from `packages`, in place.

    Such a function of Foveal's has an argument `allow`. A configuration can not allow anything by itself: it may have
    been downloaded.

    Args:
        settings: with all arguments that have defaults.
        packages: that were typed.

    Raises:
        ImportsError: if the configuration itself names others.
    """
    for where, path, arguments in _opened(settings, ()):
        if others := [name for name in arguments["allow"] or () if name not in packages]:
            raise ImportsError(
                f"{where}: {path} would import from {', '.join(others)}, which a configuration cannot allow; "
                f"add --allow_import {others[0]} if you trust it"
            )
        arguments["allow"] = list(packages)


def _opened(settings: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, str, Any]]:
    """Of everything with an argument `allow` its place, its class path and its arguments."""
    if isinstance(settings, list | tuple):
        for place, each in enumerate(settings):
            yield from _opened(each, (*keys, f"[{place}]"))
    if not isinstance(settings, Mapping | Namespace):
        return
    # jsonargparse's namespace iterates over what is inside of what it holds.
    inside: Mapping[str, Any] = vars(settings) if isinstance(settings, Namespace) else settings
    path, arguments = inside.get("class_path"), inside.get("init_args")
    if isinstance(path, str) and arguments is not None and "allow" in arguments and _is_ours(path):
        yield ".".join(keys), path, arguments
    for key, value in inside.items():
        yield from _opened(value, keys if key == "init_args" else (*keys, key))


def _is_ours(path: str) -> bool:
    """Whether it is defined in Foveal, whatever module it is taken from; the parser has imported that."""
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return found is None or str(getattr(found, "__module__", "")).startswith("foveal.")

"""Packages other than Foveal from which classes may be imported: parse their names and pass them on."""

import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


class ImportsError(ValueError):
    """A configuration allows packages that the command line does not."""


def package(name: str) -> str:
    """Check the name of a package or module for `--allow_import`, and return it.

    Raises:
        argparse.ArgumentTypeError: if it is not a package name, or belongs to the parser itself.
    """
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts) or parts[-1] == "py" or parts[0] == "jsonargparse":
        raise ArgumentTypeError(f"{name!r} is not the name of a package; for mine.py or mine/, give mine")
    return name


def is_within(path: str, packages: Iterable[str]) -> bool:
    """Whether a module or object belongs to one of `packages`."""
    return any(path == each or path.startswith(f"{each}.") for each in packages)


def allow_in(settings: Any, packages: Sequence[str]) -> None:
    """Let every part of a parsed configuration that opens a checkpoint import from `packages`, in place.

    These are the functions of Foveal with an argument `allow`. A configuration cannot allow anything by itself: it may
    have been downloaded.

    Args:
        settings: parsed, with all arguments that have defaults.
        packages: those allowed on the command line.

    Raises:
        ImportsError: if the configuration itself names others.
    """
    for where, path, arguments in _opened(settings, (), ""):
        if others := [name for name in arguments["allow"] or () if name not in packages]:
            raise ImportsError(
                f"{where}: {path} would import from {', '.join(others)}, which a configuration cannot allow; "
                f"add --allow_import {others[0]} if you trust it"
            )
        arguments["allow"] = list(packages)


def _opened(settings: Any, keys: tuple[str, ...], part: str) -> Iterator[tuple[str, str, Any]]:
    """Key path, class path and arguments of everything in a part of Foveal that has an argument `allow`.

    `part` is the class path of the part that `settings` belong to, or empty outside Foveal. `load` takes `allow`;
    other functions take it inside another argument.
    """
    if isinstance(settings, list | tuple):
        for place, each in enumerate(settings):
            yield from _opened(each, (*keys, f"[{place}]"), part)
    if not isinstance(settings, Mapping | Namespace):
        return
    # Iterating over jsonargparse's namespace descends into nested values; `vars` does not.
    inside: Mapping[str, Any] = vars(settings) if isinstance(settings, Namespace) else settings
    if isinstance(path := inside.get("class_path"), str):
        part = path if _is_ours(path) else ""
    if part and "allow" in inside:
        yield ".".join(keys), part, settings
    for key, value in inside.items():
        yield from _opened(value, keys if key == "init_args" else (*keys, key), part)


def _is_ours(path: str) -> bool:
    """Whether the object is defined in Foveal, whatever module names it; the parser has imported that module."""
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return found is None or str(getattr(found, "__module__", "")).startswith(("foveal.", "recipes."))

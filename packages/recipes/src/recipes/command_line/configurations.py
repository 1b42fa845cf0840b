"""Find configurations by name, and list the files that they extend in the order in which the parser reads them."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.resources import files
from os.path import isdir, isfile
from pathlib import Path
from typing import Any

import yaml

from foveal.limited_yaml import load_yaml, read_yaml
from recipes.command_line.local_paths import is_remote

CONFIGS = Path(str(files("recipes") / "configs")).resolve()
FOLDERS = ("methods", "sizes", "stages", "extras")
"""Folders of `CONFIGS` that names of shipped configurations leave out: `uhd.yaml` is `methods/uhd.yaml`."""
EXTENDS = "extends"
LONGEST_CHAIN = 50
"""Most configurations in a chain of `extends`; the shipped ones need five."""
LONGEST_NAME = 200
"""Characters of a name that messages repeat."""


class UsageError(ValueError):
    """Wrong usage of the command line; the message says what to type instead."""


def shipped_name(file: Path) -> str:
    """The name under which a shipped configuration is typed, such as `uhd/13b.yaml`; for other files, the path."""
    if not file.is_relative_to(CONFIGS):
        return str(file)
    parts = file.relative_to(CONFIGS).parts
    return "/".join(parts[1:] if parts[0] in FOLDERS else parts)


def shipped_configs() -> list[str]:
    """Names of the configurations that come with the package, such as `uhd.yaml` and `uhd/13b.yaml`."""
    return sorted(shipped_name(path) for path in CONFIGS.rglob("*.yaml"))


def shipped_methods() -> list[str]:
    """Names of the methods that have a small configuration, such as `uhd`."""
    return sorted(path.stem for path in CONFIGS.glob("methods/*.yaml"))


def find_config(name: str, beside: Path | None = None) -> str:
    """The file that `--config name` or `extends: name` means, a local or a shipped one; `.yaml` is optional.

    Args:
        name: name of the configuration.
        beside: the file that extends it. Names are looked up relative to it, then to the working directory; shipped
            files extend only shipped ones.

    Raises:
        UsageError: if there is no such file, or `name` is a URL: a configuration names code to run, so it is never
            fetched.
    """
    # A very long name would push what is wrong with it out of the message.
    typed = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]} ..."
    said = f"--config {typed}" if beside is None else f"{shipped_name(beside)}: {EXTENDS} {typed}"
    if is_remote(name):
        raise UsageError(f"{said}: a configuration can run code and is not fetched; download it and read it first")
    spelled = (name,) if name.endswith(".yaml") else (name, f"{name}.yaml")
    shipped = [CONFIGS, *(CONFIGS / folder for folder in FOLDERS)]
    if beside is None:
        folders = [Path(), *shipped]
    elif beside.is_relative_to(CONFIGS):
        folders = [beside.parent, *shipped]
    else:
        folders = [beside.parent, Path(), *shipped]
    for folder in folders:
        for each in spelled:
            # Not Path.is_file: it raises an error for a name that is too long.
            if isfile(found := folder / each):
                return str(found)
    if any(isdir(folder / name) for folder in folders[: len(folders) - len(shipped)]):
        raise UsageError(f"{said}: that is a folder; give a file in it")
    near = get_close_matches(spelled[-1], shipped_configs(), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    methods = ", ".join(f"{method}.yaml" for method in shipped_methods())
    raise UsageError(
        f"{said}: there is no such file here and none of that name is shipped; {hint}Methods: {methods}; "
        "sizes and stages are in a folder named after the method, as in llava/7b.yaml"
    )


def expand(file: Path, before: set[Path] | None = None) -> list[Path]:
    """The files that a configuration extends, each before those that extend it, then the configuration itself.

    Args:
        file: the configuration; it is included even if it is in `before`.
        before: resolved paths of earlier files, which are not repeated; updated in place.

    Raises:
        UsageError: if `extends` is not a name or a list of names, a name is not found, or a file extends itself;
            naming the chain of files that leads there.
    """
    before = set() if before is None else before
    found = [*_extended(file, before, ()), file]
    before.add(file.resolve())
    return found


def _extended(file: Path, before: set[Path], chain: tuple[Path, ...]) -> Iterator[Path]:
    """The files that `file` extends, without those in `before`; `chain` leads from the first file to this one."""
    chain = (*chain, file)
    if len(chain) > LONGEST_CHAIN:
        raise UsageError(f"{shipped_name(chain[0])}: more than {LONGEST_CHAIN} configurations extend each other")
    for name in _names(file):
        try:
            base = Path(find_config(name, beside=file))
        except UsageError as error:
            raise UsageError(f"{error}{_through(chain)}") from error
        if base.resolve() in {each.resolve() for each in chain}:
            raise UsageError(f"{shipped_name(file)}: {EXTENDS} {name}: it extends itself{_through((*chain, base))}")
        if base.resolve() not in before:
            yield from _extended(base, before, chain)
            before.add(base.resolve())
            yield base


def _through(chain: tuple[Path, ...]) -> str:
    return f" ({' -> '.join(map(shipped_name, chain))})" if len(chain) > 1 else ""


def _names(file: Path) -> list[str]:
    """The names a file extends; none if it is not a mapping in YAML, which `read_config` reports."""
    try:
        content = read_yaml(file)
    except ValueError:
        return []
    if not isinstance(content, dict) or EXTENDS not in content:
        return []
    given = content[EXTENDS]
    names = given if isinstance(given, list) else [given]
    if not all(isinstance(name, str) and name for name in names):
        raise UsageError(
            f"{shipped_name(file)}: {EXTENDS} is {given}: give the name of a configuration, or a list of names"
        )
    return names


def without_extends(content: str, source: str) -> str:
    """The text of a configuration without its `extends`.

    Raises:
        UsageError: naming `source`, if it is not YAML, or exceeds a limit.
    """
    try:
        described = load_yaml(content, source=source)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not isinstance(described, dict) or EXTENDS not in described:
        return content
    # Not dumped from the loaded values: a quoted '1e5' would become a number.
    node: Any = yaml.compose(content, Loader=yaml.SafeLoader)
    node.value = [(key, value) for key, value in node.value if key.value != EXTENDS]
    text: str = yaml.serialize(node, Dumper=yaml.SafeDumper)
    return text


def merged(*names: str) -> dict[str, Any]:
    """Merge configurations and everything they extend, without the parser's defaults.

    Unlike in the parser, a new class does not keep arguments of the previous class.

    Args:
        names: names of the configurations, as after `--config`.

    Raises:
        UsageError: as for `find_config` and `expand`.
    """
    before: set[Path] = set()
    together: dict[str, Any] = {}
    for name in names:
        for file in expand(Path(find_config(name)), before):
            together = _laid_over(together, read_yaml(file))
    together.pop(EXTENDS, None)
    return together


def _laid_over(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {**under, **over}
    for key, value in over.items():
        other = under.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            same = value.get("class_path", other.get("class_path")) == other.get("class_path")
            both[key] = _laid_over(other, value) if same else value
    return both

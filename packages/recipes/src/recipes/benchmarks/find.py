"""Find a benchmark by name, or in a YAML of one's own."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from jsonargparse import ArgumentError, ArgumentParser

from foveal.limited_yaml import read_yaml
from recipes.benchmarks import submissions  # noqa: F401  # so that a YAML can name its classes
from recipes.benchmarks.benchmark import Benchmark
from recipes.commands.parser_limits import limit_parser

TABLE = Path(__file__).parent / "table"
EXTENDS = "extends"
LONGEST_CHAIN = 5


def names() -> list[str]:
    """Names of the benchmarks that are known."""
    return sorted(file.stem for file in TABLE.glob("*.yaml"))


def path_of(name: str) -> Path:
    """The YAML of a benchmark.

    Args:
        name: one of `names()`, or a path that ends in `.yaml`.

    Raises:
        ValueError: if there is none.
    """
    if name.endswith(".yaml"):
        if Path(name).is_file():
            return Path(name)
        raise ValueError(f"there is no file {name}")
    if name in names():
        return TABLE / f"{name}.yaml"
    near = get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ValueError(
        f"there is no benchmark {name:.60}; {hint}There are {', '.join(names())}, or give a YAML of your own"
    )


def benchmark(path: Path, allow: Sequence[str] = ()) -> Benchmark:
    """Read a benchmark.

    Args:
        path: its YAML. `extends: NAME` takes over another one, a known one or a YAML beside it: its settings are
            replaced one by one, lists as a whole, and the arguments of a class with it.
        allow: packages besides Foveal from which it may import classes.

    Raises:
        ValueError: naming the file and the setting, for anything that is not understood.
        OSError: if it cannot be read.
    """
    limit_parser(["recipes", "foveal", *allow])
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Benchmark, "benchmark")
    try:
        settings = parser.parse_object({"benchmark": _settings(path, ())})
    except ArgumentError as error:
        raise ValueError(f"{path}: {error}") from error
    return cast(Benchmark, parser.instantiate(settings).benchmark)


def _settings(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    """The settings of a YAML over those that it extends."""
    if len(chain) == LONGEST_CHAIN:
        raise ValueError(f"{chain[0]}: more than {LONGEST_CHAIN} benchmarks extend each other")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: the settings of a benchmark are expected, not a {type(content).__name__}")
    if EXTENDS not in content:
        return content
    name = content.pop(EXTENDS)
    if not isinstance(name, str):
        raise ValueError(f"{path}: {EXTENDS} is {name!r:.60}: give the name of a benchmark")
    beside = path.parent / name
    base = beside if name.endswith(".yaml") and beside.is_file() else path_of(name)
    return _over(_settings(base, (*chain, path)), content)


def _over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    other_class = "class_path" in own and own["class_path"] != base.get("class_path")
    merged = {} if other_class else dict(base)
    for key, value in own.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _over(merged[key], value) if both else value
    return merged

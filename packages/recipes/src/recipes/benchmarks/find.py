"""Build a benchmark from its YAML."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from jsonargparse import ArgumentError, ArgumentParser

from foveal.limited_yaml import read_yaml
from recipes.benchmarks import submissions  # noqa: F401  # so that a YAML can name its classes
from recipes.benchmarks.benchmark import Benchmark
from recipes.benchmarks.submission import OURS
from recipes.command_line.benchmarks import path_of
from recipes.commands.explanation import shortened
from recipes.commands.parser_limits import limit_parser

EXTENDS = "extends"
LONGEST_CHAIN = 5
EXPECTED = re.compile(r"Expected an? <class '(\w+)'>")
"""The parser's words for the type of a setting."""


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
        said = EXPECTED.sub(r"a value of type \1 is expected", shortened(str(error)).removeprefix("benchmark."))
        raise ValueError(f"{path}: {said}") from error
    made = cast(Benchmark, parser.instantiate(settings).benchmark)
    if made.submission is not None and OURS.fullmatch(made.submission.file):
        raise ValueError(
            f"{path}: the submission's file is {made.submission.file!r:.100}: give a name within the evaluation's "
            "folder that none of its other files has"
        )
    return made


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

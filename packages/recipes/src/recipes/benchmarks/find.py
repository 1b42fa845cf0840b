"""Find a benchmark by name, or in a YAML of one's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from jsonargparse import ArgumentError, ArgumentParser

from foveal.limited_yaml import read_yaml
from recipes.benchmarks.benchmark import Benchmark
from recipes.commands.parser_limits import limit_parser

TABLE = Path(__file__).parent / "table"


def names() -> list[str]:
    """Names of the benchmarks that are known."""
    return sorted(file.stem for file in TABLE.glob("*.yaml"))


def benchmark(path: Path, allow: Sequence[str] = ()) -> Benchmark:
    """Read a benchmark.

    Args:
        path: its YAML.
        allow: packages besides Foveal from which it may import classes.

    Raises:
        ValueError: naming the file and the setting, for anything that is not understood.
        OSError: if it cannot be read.
    """
    limit_parser(["recipes", "foveal", *allow])
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Benchmark, "benchmark")
    try:
        settings = parser.parse_object({"benchmark": read_yaml(path)})
    except ArgumentError as error:
        raise ValueError(f"{path}: {error}") from error
    return cast(Benchmark, parser.instantiate(settings).benchmark)

"""Find a benchmark by name, or in a YAML of one's own; nothing is imported for it."""

from difflib import get_close_matches
from pathlib import Path

from recipes.command_line.configurations import UsageError
from recipes.command_line.local_paths import local_path

TABLE = Path(__file__).parents[1] / "benchmarks" / "table"


def names() -> list[str]:
    """Names of the benchmarks that come with the package."""
    return sorted(file.stem for file in TABLE.glob("*.yaml"))


def listed() -> str:
    """All names in a short form: `vqav2[_test, _testdev]` stands for three."""
    families: dict[str, list[str]] = {}
    for name in names():
        base = next((each for each in families if name.startswith(f"{each}_")), None)
        if base is None:
            families[name] = []
        else:
            families[base].append(name.removeprefix(base))
    return ", ".join(f"{base}[{', '.join(ends)}]" if ends else base for base, ends in families.items())


def path_of(name: str) -> Path:
    """The YAML of a benchmark.

    Args:
        name: one of `names()`, or a path that ends in `.yaml`.

    Raises:
        UsageError: if there is none.
    """
    if name.endswith(".yaml"):
        if (path := local_path(name)).is_file():
            return path
        raise UsageError(f"--benchmark {name:.200}: there is no such file")
    if name in names():
        return TABLE / f"{name}.yaml"
    near = get_close_matches(name, names(), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(
        f"--benchmark {name:.60}: there is none of that name; {hint}There are {listed()}, or give a YAML of your own"
    )

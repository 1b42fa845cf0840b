"""Pin the versions of everything that the workspace depends on: `python -m tools.pins`.

`uv.lock` is not kept, because it names where packages were fetched from. Instead the set of versions is kept in
`[tool.uv] constraint-dependencies`, and everyone resolves to it. `--hashes FILE` writes it for those who check hashes.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).parent.parent
BEGIN, END = "# pins: begin", "# pins: end"


def locked_versions(lock: str) -> dict[str, str]:
    """name -> version of every package of a uv.lock that comes from outside the workspace.

    If there are several versions for several versions of Python, the oldest is used: it runs on all of them.
    """
    versions: dict[str, set[str]] = {}
    for package in tomllib.loads(lock)["package"]:
        if not {"editable", "virtual"} & set(package["source"]):
            versions.setdefault(package["name"], set()).add(package["version"].split("+")[0])
    return {name: min(found, key=Version) for name, found in sorted(versions.items())}


def with_pins(pyproject: str, versions: dict[str, str]) -> str:
    """The text of a pyproject.toml with the block of pins replaced.

    Raises:
        ValueError: if it has no such block.
    """
    block = re.compile(rf"({BEGIN}[^\n]*\n).*?({END})", re.DOTALL)
    pins = "".join(f'    "{name}=={version}",\n' for name, version in versions.items())
    replaced, count = block.subn(lambda match: f"{match[1]}constraint-dependencies = [\n{pins}]\n{match[2]}", pyproject)
    if count != 1:
        raise ValueError(f"expected one block from '{BEGIN}' to '{END}', found {count}")
    return replaced


def resolved(path: Path, *, upgrade: bool) -> str:
    """The uv.lock of the workspace with this pyproject.toml at its root.

    For an upgrade, uv must not see the current pins; they are restored whatever happens.
    """
    before = path.read_text(encoding="utf-8")
    if upgrade:
        path.write_text(with_pins(before, {}), encoding="utf-8")
    try:
        subprocess.run(["uv", "lock", "--quiet", *(["--upgrade"] if upgrade else [])], cwd=path.parent, check=True)
    finally:
        if upgrade:
            path.write_text(before, encoding="utf-8")
    return (path.parent / "uv.lock").read_text(encoding="utf-8")


def write_hashes(path: Path) -> None:
    """Write the locked versions with their hashes, for `pip install --require-hashes -r FILE`; no host is named.

    Args:
        path: the file; the packages of the workspace are not in it, and are installed afterwards with `--no-deps`.
    """
    words = ("--format", "requirements-txt", "--no-emit-workspace", "--no-dev", "--no-header", "--no-annotate")
    subprocess.run(
        ["uv", "export", "--quiet", "--frozen", *words, "--output-file", path.absolute()], cwd=ROOT, check=True
    )


def main() -> None:
    """Rewrite or check the block in the root's pyproject.toml, or write the versions with their hashes."""
    parser = argparse.ArgumentParser(prog="python -m tools.pins", description=__doc__)
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the pins are out of date")
    ways.add_argument("--upgrade", action="store_true", help="move to the newest versions that fit")
    ways.add_argument("--hashes", type=Path, metavar="FILE", help="write the pinned versions with hashes, for pip")
    options = parser.parse_args()
    path = ROOT / "pyproject.toml"
    before = path.read_text(encoding="utf-8")
    after = with_pins(before, locked_versions(resolved(path, upgrade=options.upgrade)))
    if options.check:
        sys.exit("the pins are out of date: run `uv run python -m tools.pins`" if after != before else 0)
    if options.hashes is not None:
        write_hashes(options.hashes)
        return
    path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()

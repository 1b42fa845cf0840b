"""The command `foveal` of an installation: `foveal fit ...` is `python -m recipes.fit ...`."""

import ast
import runpy
import sys
from difflib import get_close_matches
from pathlib import Path

import recipes
from recipes.command_line.console import stop

HELP = "foveal --help lists the commands"


def main() -> None:
    """Run the command that is named first, or list all commands.

    Raises:
        SystemExit: with 2 if there is no such command, else as the command itself.
    """
    name, *words = sys.argv[1:] or ["--help"]
    if name == "--version":
        print(f"foveal-recipes {recipes.__version__}")
    elif name in ("-h", "--help"):
        print(_listed(), end="")
    elif name not in commands():
        close = get_close_matches(name, commands(), n=1)
        stop(f"there is no command {name}" + (f"; did you mean {close[0]}?" if close else ""), HELP)
    else:
        sys.argv[1:] = words
        # As `python -m`, so that processes that are started for more devices and by loaders find the same command.
        runpy.run_module(f"recipes.{name}", run_name="__main__", alter_sys=True)


def commands() -> dict[str, str]:
    """Every command with what it does: the modules of `recipes` that can be run, read but not imported."""
    found = {}
    for path in sorted(Path(recipes.__file__).parent.glob("[!_]*.py")):
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in text:
            found[path.stem] = (ast.get_docstring(ast.parse(text)) or "").partition(": `")[0]
    return found


def _listed() -> str:
    width = max(map(len, commands()))
    lines = [f"  {name:{width}}  {about}\n" for name, about in commands().items()]
    return f"usage: foveal COMMAND ...\n\n{''.join(lines)}\nfoveal COMMAND --help shows the options of one.\n"

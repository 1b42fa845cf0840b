"""How the commands on configurations begin: what was typed is looked at first, what is slow to import comes after."""

import gc
import sys
from importlib import import_module

from recipes.command_line.arguments import prepare
from recipes.command_line.configurations import UsageError
from recipes.command_line.console import stop
from recipes.command_line.help import short_help
from recipes.command_line.spelling import check_spelling

CLASSES = {
    "fit": ("recipes.commands.fit", "FitCommand", "fit"),
    "validate": ("recipes.commands.validate", "ValidateCommand", "validate"),
    "cost": ("recipes.commands.cost", "CostCommand", "fit"),
}
"""Of every command the module, its class, and the Trainer's subcommand whose options it has."""


def main(command: str) -> None:
    """Run one of `CLASSES` on what was typed.

    Raises:
        SystemExit: with 2 for wrong usage, with 1 for an input that cannot be used, with 128 + its number after a
            signal.
    """
    module, name, subcommand = CLASSES[command]
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        if arguments[-1] != "all":
            print(short_help(command, module, name), end="")
            return
        arguments = ["--help"]
    try:
        typed = prepare(arguments)
        check_spelling(typed.arguments, command)
    except UsageError as error:
        stop(str(error), "--help lists the options")
    # What is imported stays; looking through it for garbage, now and later, takes a fifth of the time.
    gc.disable()
    try:
        run, kind = import_module("recipes.commands.lightning_cli").run, getattr(import_module(module), name)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    finally:
        gc.freeze()
        gc.enable()
    run(kind, subcommand, typed)

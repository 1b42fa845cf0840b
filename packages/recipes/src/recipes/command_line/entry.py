"""Start the commands that take configurations: check the command line before slow imports."""

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
    "check": ("recipes.commands.check", "CheckCommand", "fit"),
    "cost": ("recipes.commands.cost", "CostCommand", "fit"),
    "look": ("recipes.commands.look", "LookCommand", "fit"),
}
"""For every command: its module, its class, and the Trainer method whose options it takes."""


def main(command: str) -> None:
    """Run a command, one of `CLASSES`, on `sys.argv`.

    Raises:
        SystemExit: with 2 for wrong usage, 1 for unusable input, and 128 + the signal's number after a signal.
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
    # Imported objects stay alive; searching them for garbage, now and later, would take a fifth of the time.
    gc.disable()
    try:
        run, kind = import_module("recipes.commands.lightning_cli").run, getattr(import_module(module), name)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    finally:
        gc.freeze()
        gc.enable()
    run(kind, subcommand, typed)

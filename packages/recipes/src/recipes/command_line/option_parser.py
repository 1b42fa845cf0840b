"""The parser for commands without a configuration."""

import argparse
from difflib import get_close_matches
from functools import partial
from typing import Any, NoReturn

from recipes.command_line.console import stop

UNKNOWN = "unrecognized arguments: "


class OptionParser(argparse.ArgumentParser):
    """Reports errors in one line, with the option that was probably meant, and without the usage text."""

    def __init__(self, prog: str, description: str, usage: str | None = None) -> None:
        # Room for the longest options, so that most take one line.
        formatter: Any = partial(argparse.HelpFormatter, max_help_position=34)
        super().__init__(prog, usage=usage, description=description, formatter_class=formatter)

    def error(self, message: str) -> NoReturn:
        if message.startswith(UNKNOWN):
            message = self._unknown(message.removeprefix(UNKNOWN).split(" "))
        stop(message, "--help lists the options")

    def _unknown(self, words: list[str]) -> str:
        option = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
        if option is None:
            return f"unexpected argument: {' '.join(words)}"
        names = [name for action in self._actions for name in action.option_strings]
        near = get_close_matches(option, names, n=1)
        return f"there is no option {option}" + (f"; did you mean {near[0]}?" if near else "")

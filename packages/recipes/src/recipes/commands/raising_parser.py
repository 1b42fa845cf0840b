"""The parser of the commands on configurations: what is wrong is raised, and said elsewhere."""

from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from recipes.command_line.arguments import UsageError


class RaisingParser(LightningArgumentParser):
    """Raises what was wrong instead of printing it after two hundred lines of usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(message) from ex

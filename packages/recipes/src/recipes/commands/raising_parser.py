"""The parser of the commands on configurations: what is wrong is raised, and said elsewhere."""

import os
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from recipes.command_line.configurations import UsageError, without_extends


class RaisingParser(LightningArgumentParser):
    """Raises what was wrong instead of printing it after two hundred lines of usage.

    Attributes:
        expanded: configurations before which all that they extend is parsed.
    """

    expanded: frozenset[Path] = frozenset()

    def parse_string(self, content: str, path: str | os.PathLike[str] = "", *args: Any, **kwargs: Any) -> Namespace:
        """As the parser's; of a file only what it says itself, without what it extends."""
        own = without_extends(content, str(path) or content[:40])
        if own != content and Path(path).resolve() not in self.expanded:
            self.error(f"{path}: a file that extends others is named by --config or extends, not by config in a file")
        parsed: Namespace = super().parse_string(own, path, *args, **kwargs)
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(message) from ex

"""The parser of the commands that take configurations: it raises errors instead of printing them."""

import os
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from recipes.command_line.configurations import UsageError, without_extends


class IncludedError(UsageError):
    """A file that extends others is included by another file."""


class RaisingParser(LightningArgumentParser):
    """A parser that raises errors instead of printing them after two hundred lines of usage.

    Attributes:
        expanded: configurations for which everything they extend has already been parsed.
    """

    expanded: frozenset[Path] = frozenset()

    def parse_string(self, content: str, path: str | os.PathLike[str] = "", *args: Any, **kwargs: Any) -> Namespace:
        """Parse a text; for a file, only its own settings, without its `extends`."""
        own = without_extends(content, str(path) or content[:40])
        if own != content and Path(path).resolve() not in self.expanded:
            raise IncludedError(
                f"{path}: name a file that extends others with --config or extends, not with config in a file"
            )
        parsed: Namespace = super().parse_string(own, path, *args, **kwargs)
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(message) from ex

"""What the parser of configurations may do: import from named packages, and load YAML within limits."""

from collections.abc import Sequence
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader, set_parsing_settings

from foveal.limited_yaml import LimitedLoader

_unlimited = get_loader("yaml")


def limit_parser(packages: Sequence[str]) -> None:
    """Let every parser of this process import from `packages` alone, and refuse YAML that swells or is too deep.

    That is of files too which a setting names, as in `--model.network my.yaml`.
    """
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=list(packages))
    set_loader("yaml", _load, exceptions=(yaml.YAMLError,))


def _load(text: str) -> Any:
    # The parser's loader does the same in C, where a deep nesting ends the process. It resolves numbers in its own way.
    yaml.compose(text, Loader=LimitedLoader)
    return _unlimited(text)

"""What the parser of configurations may do: import from named packages, and load YAML within limits."""

from collections.abc import Sequence
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader, set_parsing_settings

from foveal.limited_yaml import LimitedLoader

_unlimited = get_loader("yaml")


def limit_parser(packages: Sequence[str]) -> None:
    """Limit every parser of this process, also in files that a setting names, as in `--model.network my.yaml`.

    Names are imported from `packages` alone, and built only where a part is expected; nothing is fetched; YAML that
    swells or is too deep is refused.
    """
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=list(packages),
        # Lightning switches this on for s3://, memory:// and all others.
        config_read_mode_fsspec_enabled=False,
        config_read_mode_urls_enabled=False,
        instantiate_subclass_spec_in_any=False,
    )
    set_loader("yaml", _load, exceptions=(yaml.YAMLError,))


def _load(text: str) -> Any:
    # The parser's loader does the same in C, where a deep nesting ends the process. It resolves numbers in its own way.
    yaml.compose(text, Loader=LimitedLoader)
    return _unlimited(text)

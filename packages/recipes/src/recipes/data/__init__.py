"""Data for training and validation."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recipes.data.llava import LlavaData
    from recipes.data.modules import PagesData
    from recipes.data.pages import PageSettings
    from recipes.data.printed.module import PrintedData
    from recipes.data.printed.pages import PrintedSettings

__all__ = ["LlavaData", "PageSettings", "PagesData", "PrintedData", "PrintedSettings"]

DEFINED_IN = {
    "LlavaData": "llava",
    "PagesData": "modules",
    "PageSettings": "pages",
    "PrintedData": "printed.module",
    "PrintedSettings": "printed.pages",
}


def __getattr__(name: str) -> Any:
    """Import a class when it is asked for: loader workers import this package, and need no Lightning."""
    if name not in DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{DEFINED_IN[name]}"), name)

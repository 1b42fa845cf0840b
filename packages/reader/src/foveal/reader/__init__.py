"""A small model that reads printed text: the weights alone, as a checkpoint of foveal-models."""

from importlib.metadata import version
from pathlib import Path

__all__ = ["path"]
__version__ = version("foveal-reader")
"""Of the installed package."""


def path() -> Path:
    """The folder of the checkpoint, for `foveal.models.load` and every command that takes a checkpoint."""
    return Path(__file__).parent / "checkpoint"

"""A small model that reads printed text: the weights alone, as a checkpoint of foveal-models."""

from pathlib import Path

__all__ = ["path"]


def path() -> Path:
    """The folder of the checkpoint, for `foveal.models.load` and every command that takes a checkpoint."""
    return Path(__file__).parent / "checkpoint"

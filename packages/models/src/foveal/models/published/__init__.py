"""Checkpoints that others have published, recognised by their configuration and names of tensors."""

from foveal.models.published.load_llava import load_llava
from foveal.models.published.projectors import load_projector
from foveal.models.published.read import is_published, open_published

__all__ = ["is_published", "load_llava", "load_projector", "open_published"]

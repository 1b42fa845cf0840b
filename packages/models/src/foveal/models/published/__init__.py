"""Checkpoints that others have published, recognised by their configuration and names of tensors."""

from foveal.models.published.llava import load_llava
from foveal.models.published.open import is_published, open_published
from foveal.models.published.projector import load_projector

__all__ = ["is_published", "load_llava", "load_projector", "open_published"]

"""Open checkpoints that others have published, recognised by their configuration and tensor names."""

from foveal.models.published.load_llava import load_llava
from foveal.models.published.projectors import load_projector
from foveal.models.published.read import is_published, open_published

__all__ = ["is_published", "load_llava", "load_projector", "open_published"]

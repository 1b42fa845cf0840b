"""The settings in a checkpoint that determine how pictures and conversations become tokens."""

from foveal.models.prompts.processor import Overlong
from foveal.models.prompts.template_texts import TemplateName

SETTINGS = {"template": TemplateName, "system": str | None, "max_length": int, "overlong": Overlong}
"""Types of the settings in `config.yaml` and `manifest.yaml`."""

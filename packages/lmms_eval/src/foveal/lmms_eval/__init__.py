"""A plug-in for lmms-eval that answers with Foveal's models. Importing it does not import lmms-eval."""

from importlib.metadata import version

from foveal.lmms_eval.conversation import conversation
from foveal.lmms_eval.registration import manifest
from foveal.lmms_eval.settings import Settings

__all__ = ["Settings", "conversation", "manifest"]
__version__ = version("foveal-lmms-eval")
"""Of the installed package."""

"""Data for training and validation."""

from recipes.data.llava import LlavaData
from recipes.data.modules import PagesData
from recipes.data.pages import PageSettings

__all__ = ["LlavaData", "PageSettings", "PagesData"]

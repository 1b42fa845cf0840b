"""Data for training and validation."""

from recipes.data.modules import LlavaData, PagesData
from recipes.data.pages import PageSettings

__all__ = ["LlavaData", "PageSettings", "PagesData"]

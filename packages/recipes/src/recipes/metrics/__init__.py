"""Metrics for answers and for whole pages."""

from recipes.metrics.anls import ANLS
from recipes.metrics.character_error_rate import CharacterErrorRate
from recipes.metrics.exact_match import ExactMatch
from recipes.metrics.page_ocr import PageOcr
from recipes.metrics.relaxed_accuracy import RelaxedAccuracy

__all__ = ["ANLS", "CharacterErrorRate", "ExactMatch", "PageOcr", "RelaxedAccuracy"]

"""How well answers are read."""

from recipes.metrics.anls import ANLS
from recipes.metrics.character_error_rate import CharacterErrorRate
from recipes.metrics.exact_match import ExactMatch

__all__ = ["ANLS", "CharacterErrorRate", "ExactMatch"]

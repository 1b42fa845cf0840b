"""Values of questions that are made of the fields of their rows."""

from recipes.benchmarks.derived.answers import Answers
from recipes.benchmarks.derived.choices import Choices
from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.derived.texts import IfThere, Sentence, WithoutEnding

__all__ = ["Answers", "Choices", "Derived", "IfThere", "Sentence", "WithoutEnding"]

"""Values of questions that are made of the fields of their rows."""

from recipes.benchmarks.derived.answers import Answers
from recipes.benchmarks.derived.choices import Choices
from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.derived.fixed import Fixed, Modality, Whole
from recipes.benchmarks.derived.mmmu import MmmuQuestion
from recipes.benchmarks.derived.texts import IfThere, Sentence, WithoutEnding

__all__ = [
    "Answers",
    "Choices",
    "Derived",
    "Fixed",
    "IfThere",
    "MmmuQuestion",
    "Modality",
    "Sentence",
    "Whole",
    "WithoutEnding",
]

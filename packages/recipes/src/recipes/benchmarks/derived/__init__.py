"""Values of questions that are made of the fields of their rows."""

from recipes.benchmarks.derived.answers import Answers
from recipes.benchmarks.derived.boxes import BoundingBox
from recipes.benchmarks.derived.choices import Choices
from recipes.benchmarks.derived.derived import Derived
from recipes.benchmarks.derived.fixed import Fixed, Initial, Modality, Whole
from recipes.benchmarks.derived.lines import LinePlaces
from recipes.benchmarks.derived.mmmu import MmmuQuestion
from recipes.benchmarks.derived.record import TrueRecord
from recipes.benchmarks.derived.texts import IfThere, Sentence, WithoutEnding

__all__ = [
    "Answers",
    "BoundingBox",
    "Choices",
    "Derived",
    "Fixed",
    "IfThere",
    "Initial",
    "LinePlaces",
    "MmmuQuestion",
    "Modality",
    "Sentence",
    "TrueRecord",
    "Whole",
    "WithoutEnding",
]

"""Metrics for answers and for whole pages."""

from recipes.metrics.anls import ANLS
from recipes.metrics.answered import Answered
from recipes.metrics.character_error_rate import CharacterErrorRate
from recipes.metrics.choice import Choice, CircularChoice
from recipes.metrics.cider import CiderD
from recipes.metrics.documents import MpDocVqa
from recipes.metrics.exact_match import ExactMatch, GqaAccuracy
from recipes.metrics.grounding import GroundingAccuracy
from recipes.metrics.key_information import FieldF1, TreeAccuracy
from recipes.metrics.mme import Mme
from recipes.metrics.mmmu import Mmmu
from recipes.metrics.mmmu_open import MmmuOpen
from recipes.metrics.ocrbench import OcrBench, OcrBenchV2
from recipes.metrics.ocrbench_v2_core import OcrBenchV2Core
from recipes.metrics.page_ocr import PageOcr
from recipes.metrics.page_text import PageText
from recipes.metrics.pope import Pope, PopeFiles
from recipes.metrics.record_answers import KeyInformation
from recipes.metrics.relaxed_accuracy import RelaxedAccuracy
from recipes.metrics.video_answers import ActivityNetQa
from recipes.metrics.vqa import VqaAccuracy
from recipes.metrics.word_f1 import WordF1
from recipes.metrics.wups import Wups

__all__ = [
    "ANLS",
    "ActivityNetQa",
    "Answered",
    "CharacterErrorRate",
    "Choice",
    "CiderD",
    "CircularChoice",
    "ExactMatch",
    "FieldF1",
    "GqaAccuracy",
    "GroundingAccuracy",
    "KeyInformation",
    "Mme",
    "Mmmu",
    "MmmuOpen",
    "MpDocVqa",
    "OcrBench",
    "OcrBenchV2",
    "OcrBenchV2Core",
    "PageOcr",
    "PageText",
    "Pope",
    "PopeFiles",
    "RelaxedAccuracy",
    "TreeAccuracy",
    "VqaAccuracy",
    "WordF1",
    "Wups",
]

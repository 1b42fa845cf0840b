"""Vision-language models built from exchangeable parts."""

from importlib.metadata import version

from foveal.models.checkpoints.folder import load_encoder, save
from foveal.models.checkpoints.load import load, load_adapter
from foveal.models.generation.answer import answer, answer_batch, stream
from foveal.models.generation.generate import generate
from foveal.models.generation.seen import SeenPictures
from foveal.models.language_models.build import llama, opt, pretrained_language_model, qwen3
from foveal.models.language_models.qwen3_vl import qwen3_vl_text
from foveal.models.merges.anyres import AnyResMerge
from foveal.models.merges.deepstack import DeepStackHdMerge, DeepStackMerge, SequenceMerge
from foveal.models.merges.levels import LevelsMerge
from foveal.models.merges.merge import Merge, Merged
from foveal.models.merges.onevision import OneVisionMerge
from foveal.models.merges.separator import SeparatorMerge
from foveal.models.model import VisionLanguageModel
from foveal.models.prompts.batch import Batch, Sample
from foveal.models.prompts.byte_tokenizer import byte_tokenizer
from foveal.models.prompts.constants import IGNORE_INDEX, IMAGE_TOKEN_ID
from foveal.models.prompts.pretrained_tokenizer import pretrained_tokenizer
from foveal.models.prompts.processor import Processor
from foveal.models.prompts.templates import Turn
from foveal.models.relevance.explain import Explanation, WordRelevance, explain
from foveal.models.relevance.explainer import QueryToPatch
from foveal.models.token_loss import TokenLoss
from foveal.models.views.anyres import AnyResPlan
from foveal.models.views.deepseek_ocr2 import DeepSeekOcr2Plan
from foveal.models.views.deepstack import DeepStackHdPlan, DeepStackPlan
from foveal.models.views.marked import MarkedPlan
from foveal.models.views.minicpm import MiniCpmPlan
from foveal.models.views.native import NativePlan
from foveal.models.views.onevision import OneVisionPlan
from foveal.models.views.plan import ViewPlan
from foveal.models.views.read_image import BadImageError, image_size, read_image
from foveal.models.views.square import CropToSquare, PadToSquare
from foveal.models.views.stretch import StretchToSquare
from foveal.models.views.tiles import DynamicTilesPlan
from foveal.models.views.uhd import UhdPlan
from foveal.models.views.uhd_v3 import UhdV3Plan
from foveal.models.views.vary import VaryPlan
from foveal.models.views.video import Video
from foveal.models.views.video_plan import VideoPlan

__all__ = [
    "IGNORE_INDEX",
    "IMAGE_TOKEN_ID",
    "AnyResMerge",
    "AnyResPlan",
    "BadImageError",
    "Batch",
    "CropToSquare",
    "DeepSeekOcr2Plan",
    "DeepStackHdMerge",
    "DeepStackHdPlan",
    "DeepStackMerge",
    "DeepStackPlan",
    "DynamicTilesPlan",
    "Explanation",
    "LevelsMerge",
    "MarkedPlan",
    "Merge",
    "Merged",
    "MiniCpmPlan",
    "NativePlan",
    "OneVisionMerge",
    "OneVisionPlan",
    "PadToSquare",
    "Processor",
    "QueryToPatch",
    "Sample",
    "SeenPictures",
    "SeparatorMerge",
    "SequenceMerge",
    "StretchToSquare",
    "TokenLoss",
    "Turn",
    "UhdPlan",
    "UhdV3Plan",
    "VaryPlan",
    "Video",
    "VideoPlan",
    "ViewPlan",
    "VisionLanguageModel",
    "WordRelevance",
    "answer",
    "answer_batch",
    "byte_tokenizer",
    "explain",
    "generate",
    "image_size",
    "llama",
    "load",
    "load_adapter",
    "load_encoder",
    "opt",
    "pretrained_language_model",
    "pretrained_tokenizer",
    "qwen3",
    "qwen3_vl_text",
    "read_image",
    "save",
    "stream",
]
__version__ = version("foveal-models")
"""Of the installed package."""

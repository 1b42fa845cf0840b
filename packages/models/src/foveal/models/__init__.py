"""Vision-language models put together from exchangeable parts."""

from foveal.models.batch import Batch, Sample
from foveal.models.byte_tokenizer import byte_tokenizer
from foveal.models.checkpoint import load, save
from foveal.models.constants import IGNORE_INDEX, IMAGE_TOKEN_ID
from foveal.models.generation import answer, generate
from foveal.models.images import BadImageError, image_size, read_image
from foveal.models.language_models import llama, pretrained_language_model, pretrained_tokenizer, qwen3
from foveal.models.model import TokenLoss, VisionLanguageModel
from foveal.models.processor import Processor
from foveal.models.prompts import Turn
from foveal.models.square import CropToSquare, PadToSquare
from foveal.models.uhd import UhdPlan
from foveal.models.views import ViewPlan

__all__ = [
    "IGNORE_INDEX",
    "IMAGE_TOKEN_ID",
    "BadImageError",
    "Batch",
    "CropToSquare",
    "PadToSquare",
    "Processor",
    "Sample",
    "TokenLoss",
    "Turn",
    "UhdPlan",
    "ViewPlan",
    "VisionLanguageModel",
    "answer",
    "byte_tokenizer",
    "generate",
    "image_size",
    "llama",
    "load",
    "pretrained_language_model",
    "pretrained_tokenizer",
    "qwen3",
    "read_image",
    "save",
]

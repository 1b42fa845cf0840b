"""Vision-language models put together from exchangeable parts."""

from foveal.models.anyres import AnyResPlan
from foveal.models.anyres_merge import AnyResMerge
from foveal.models.batch import Batch, Sample
from foveal.models.byte_tokenizer import byte_tokenizer
from foveal.models.checkpoint import load_encoder, save
from foveal.models.constants import IGNORE_INDEX, IMAGE_TOKEN_ID
from foveal.models.deepstack_merge import DeepStackHdMerge, DeepStackMerge, SequenceMerge
from foveal.models.deepstack_plan import DeepStackHdPlan, DeepStackPlan
from foveal.models.generation import answer, generate
from foveal.models.images import BadImageError, image_size, read_image
from foveal.models.language_models import llama, opt, pretrained_language_model, qwen3
from foveal.models.merge import Merge, Merged
from foveal.models.model import TokenLoss, VisionLanguageModel
from foveal.models.opening import load, load_adapter
from foveal.models.pretrained_tokenizer import pretrained_tokenizer
from foveal.models.processor import Processor
from foveal.models.prompts import Turn
from foveal.models.square import CropToSquare, PadToSquare
from foveal.models.uhd import UhdPlan
from foveal.models.vary_plan import VaryPlan
from foveal.models.views import ViewPlan

__all__ = [
    "IGNORE_INDEX",
    "IMAGE_TOKEN_ID",
    "AnyResMerge",
    "AnyResPlan",
    "BadImageError",
    "Batch",
    "CropToSquare",
    "DeepStackHdMerge",
    "DeepStackHdPlan",
    "DeepStackMerge",
    "DeepStackPlan",
    "Merge",
    "Merged",
    "PadToSquare",
    "Processor",
    "Sample",
    "SequenceMerge",
    "TokenLoss",
    "Turn",
    "UhdPlan",
    "VaryPlan",
    "ViewPlan",
    "VisionLanguageModel",
    "answer",
    "byte_tokenizer",
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
    "read_image",
    "save",
]

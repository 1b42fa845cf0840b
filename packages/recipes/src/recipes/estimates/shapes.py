"""Build a configuration's model as shapes: on the meta device, without weights, if possible without a network."""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

import torch
from jsonargparse import ArgumentParser

from foveal.models.language_models.quantize import Kind

T = TypeVar("T")


def _clip(image_size: int) -> dict[str, Any]:
    sizes = {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": image_size,
        "patch_size": 14,
    }
    return {"model_type": "clip", "vision_config": sizes}


def _vicuna(width: int, mlp_width: int, depth: int) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 32000,
        "hidden_size": width,
        "intermediate_size": mlp_width,
        "num_hidden_layers": depth,
        "num_attention_heads": depth,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "torch_dtype": "float16",
    }


def _siglip_so400m() -> dict[str, Any]:
    sizes = {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    }
    return {"model_type": "siglip", "vision_config": sizes}


def _qwen2(vocabulary: int, width: int, mlp_width: int, *, depth: int, heads: int, key_heads: int) -> dict[str, Any]:
    return {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": mlp_width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": width < 3584,
        "torch_dtype": "bfloat16",
    }


KNOWN = {
    "openai/clip-vit-large-patch14-336": _clip(336),
    "openai/clip-vit-large-patch14": _clip(224),
    "lmsys/vicuna-7b-v1.5": _vicuna(4096, 11008, 32),
    "lmsys/vicuna-13b-v1.5": _vicuna(5120, 13824, 40),
    "Qwen/Qwen2-0.5B-Instruct": _qwen2(151936, 896, 4864, depth=24, heads=14, key_heads=2),
    "Qwen/Qwen2-7B-Instruct": _qwen2(152064, 3584, 18944, depth=28, heads=28, key_heads=4),
    "google/siglip-so400m-patch14-384": _siglip_so400m(),
    "moonshotai/MoonViT-SO-400M": {"model_type": "moonvit"},
}
"""Sizes from `config.json` of these hub names (CLIP ViT-L/14, arXiv 2103.00020; LLaMA, arXiv 2302.13971; Qwen2, arXiv
2407.10671; SigLIP, arXiv 2303.15343; MoonViT, arXiv 2504.07491, whose defaults are its sizes)."""


@dataclass(frozen=True)
class Shapes(Generic[T]):
    """The object as built, and remarks on where it differs from the configuration."""

    built: T
    remarks: tuple[str, ...]


def shapes_of(kind: type[T], settings: Mapping[str, Any]) -> Shapes[T]:
    """Build what `settings` describe on the meta device.

    The names in `KNOWN` need no network; for other hub names the sizes are downloaded. A tokenizer that is not a local
    folder is replaced by a byte tokenizer: the number of visual tokens does not depend on it.

    Args:
        kind: `VisionLanguageModel` or `Finetuning`.
        settings: class path and arguments (for `Finetuning` only the arguments), as parsed.

    Raises:
        ValueError: if the parts do not fit together, or sizes are not known before weights are read.
    """
    remarks: list[str] = []
    parser = ArgumentParser(exit_on_error=False)
    with TemporaryDirectory() as folder:
        described = _available(deepcopy(dict(settings)), Path(folder), remarks)
        if "class_path" in described:
            # Not `add_subclass_arguments`: its type is this or None, and errors would explain why neither fits.
            parser.add_argument("--it", type=kind, required=True)
        else:
            parser.add_class_arguments(kind, "it")
        parsed = parser.parse_object({"it": described})
        with torch.device("meta"):
            built = parser.instantiate(parsed)["it"]
    return Shapes(built, tuple(dict.fromkeys(remarks)))


def quantization(network: Mapping[str, Any]) -> Kind | None:
    """How the language model in a network's settings is quantised on loading; None: not at all."""
    arguments = network["init_args"]
    asked = arguments.get("quantize")  # for a checkpoint
    if asked is None and isinstance(language_model := arguments.get("language_model"), dict):
        asked = (language_model.get("init_args") or {}).get("quantize")
    kind: Kind | None = asked
    return kind


def _available(described: Any, folder: Path, remarks: list[str]) -> Any:
    """The settings with everything that needs a network replaced; known sizes are written into `folder`."""
    if isinstance(described, list):
        return [_available(each, folder, remarks) for each in described]
    if not isinstance(described, dict):
        return described
    arguments: dict[str, Any] = described.get("init_args") or {}
    name = arguments.get("name_or_folder")
    if name is None or Path(name).is_dir():
        return {key: _available(value, folder, remarks) for key, value in described.items()}
    if described["class_path"].endswith(".pretrained_tokenizer"):
        remarks.append(f"the tokenizer of {name} is not read: a byte tokenizer replaces it")
        return {
            "class_path": "foveal.models.byte_tokenizer",
            "init_args": {"tokens": arguments.get("tokens", [])},
        }
    if name in KNOWN:
        local = folder / name.replace("/", "--")
        local.mkdir(exist_ok=True)
        (local / "config.json").write_text(json.dumps(KNOWN[name]))
        return {**described, "init_args": {**arguments, "name_or_folder": str(local)}}
    return described

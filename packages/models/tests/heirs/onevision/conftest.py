"""LLaVA-OneVision in transformers' layout and in that of LLaVA's own code: tiny, random, with the real names."""

import json

import numpy as np
import pytest
import torch
from packages.models.tests.heirs.references import shaken
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil

from foveal.models import load

SIDE, PATCH, CELLS = 23, 7, 9
PINPOINTS = [[SIDE * rows, SIDE * columns] for rows in range(1, 4) for columns in range(1, 4)]
VISION = {
    "hidden_size": 64,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "image_size": SIDE,
    "patch_size": PATCH,
    "vision_use_head": False,
}
TEXT = {
    "vocab_size": 270,
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
ORIGINAL = {
    **TEXT,
    "model_type": "llava_qwen",
    "mm_vision_tower": "google/siglip-so400m-patch14-384",
    "mm_vision_select_layer": -2,
    "mm_projector_type": "mlp2x_gelu",
    "mm_patch_merge_type": "spatial_unpad",
    "image_aspect_ratio": "anyres_max_2",
    "image_grid_pinpoints": "(1x1),...,(3x3)",
    "tie_word_embeddings": True,
}
NAMES = {
    "language_model.model.": "model.",
    "vision_tower.": "model.vision_tower.vision_tower.vision_model.",
    "multi_modal_projector.linear_1.": "model.mm_projector.0.",
    "multi_modal_projector.linear_2.": "model.mm_projector.2.",
    "image_newline": "model.image_newline",
}


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(5)
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**VISION),
        text_config=Qwen2Config(**TEXT, tie_word_embeddings=True),
        image_token_index=259,
        video_token_index=260,
        image_grid_pinpoints=PINPOINTS,
        vision_aspect_ratio="anyres_max_2",
    )
    return shaken(LlavaOnevisionForConditionalGeneration(config))


@pytest.fixture(scope="module")
def processor(chatml_tokenizer):
    pixels = {"size": {"height": SIDE, "width": SIDE}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessorPil(image_grid_pinpoints=PINPOINTS, **pixels),
        tokenizer=chatml_tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(**pixels),
        num_image_tokens=CELLS,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_2",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reference, processor):
    folder = tmp_path_factory.mktemp("onevision")
    reference.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


@pytest.fixture(scope="session")
def picture():
    """Makes a picture whose views and tiles all differ."""

    def picture(width, height):
        noise = np.random.default_rng(width * 100 + height).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)

    return picture


@pytest.fixture
def original(folder, tmp_path, chatml_tokenizer):
    """Opens the same weights as LLaVA's own code writes them, of a tower from which it has removed a block."""
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        prefix = next(prefix for prefix in NAMES if name.startswith(prefix))
        tensors[NAMES[prefix] + name.removeprefix(prefix)] = tensor
    save_file(tensors, tmp_path / "model.safetensors")
    chatml_tokenizer.save_pretrained(tmp_path)
    sizes = tmp_path / "sizes"
    sizes.mkdir()
    described = {"model_type": "siglip_vision_model", **VISION, "num_hidden_layers": VISION["num_hidden_layers"] + 1}
    (sizes / "config.json").write_text(json.dumps(described))

    def original(plan=None, **fields):
        (tmp_path / "config.json").write_text(json.dumps(ORIGINAL | fields))
        return load(tmp_path, encoder=str(sizes), plan=plan)

    return original

"""Exported folders have the tensor names of published ones, which every version of transformers reads."""

import pytest
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration, LlavaNextForConditionalGeneration

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import AnyResMerge, AnyResPlan, PadToSquare, VisionLanguageModel, byte_tokenizer, llama
from foveal.models.checkpoints.export import export

LAYER = "self_attn.q_proj.weight"
LLAVA = {
    f"language_model.model.layers.0.{LAYER}",
    "language_model.model.embed_tokens.weight",
    "language_model.lm_head.weight",
    "multi_modal_projector.linear_1.weight",
    "multi_modal_projector.linear_2.bias",
    "vision_tower.vision_model.embeddings.class_embedding",
    "vision_tower.vision_model.pre_layrnorm.weight",
    f"vision_tower.vision_model.encoder.layers.0.{LAYER}",
}
"""Some names of llava-hf/llava-1.5-7b-hf; llava-hf/llava-v1.6-vicuna-7b-hf has `image_newline` too."""


@pytest.mark.parametrize("tiles", [False, True])
def test_names_of_published_folders(tmp_path, tiles):
    model = VisionLanguageModel(
        VisionTransformer(32, 2, 2, 48, 7, 28),
        MlpProjector,
        llama(260, width=32, depth=1, heads=2, mlp_width=48, context=512),
        byte_tokenizer(),
        AnyResPlan(28) if tiles else PadToSquare(28),
        merge=AnyResMerge if tiles else None,
        max_length=500,
    ).eval()
    export(model, tmp_path / "out")
    names = set(load_file(tmp_path / "out" / "model.safetensors"))
    assert names >= LLAVA | ({"image_newline"} if tiles else set())
    towers = {name for name in names if name.startswith("vision_tower.")}
    assert all(name.startswith("vision_tower.vision_model.") for name in towers)
    kind = LlavaNextForConditionalGeneration if tiles else LlavaForConditionalGeneration
    _, read = kind.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not read["missing_keys"]
    assert not read["unexpected_keys"]

"""Language models that are read out of folders of vision-language models."""

import pytest
import torch
from packages.models.tests.chat_models import gemma_3
from safetensors.torch import load_file, save_file
from transformers import Gemma3Config, Gemma3ForCausalLM, Gemma3ForConditionalGeneration, SiglipVisionConfig

from foveal.models import pretrained_language_model
from foveal.models.language_models.quantize import quantize


@torch.no_grad()
@pytest.mark.parametrize("is_published", [True, False])
def test_gemma_3_with_its_own_image_tower(tmp_path, is_published):
    """From 4 billion parameters on, Gemma 3's folders are vision-language models: only their text model is read."""
    vision = SiglipVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    config = Gemma3Config(vision_config=vision, text_config=gemma_3().config, mm_tokens_per_image=4)
    reference = Gemma3ForConditionalGeneration(config).eval()
    reference.save_pretrained(tmp_path)
    if not is_published:
        save_file(
            {name: each.clone() for name, each in reference.model.state_dict(prefix="model.").items()},
            tmp_path / "model.safetensors",
        )
    text = torch.arange(5, 25)[None]
    model = pretrained_language_model(str(tmp_path))
    assert type(model) is Gemma3ForCausalLM
    assert torch.equal(model(text).logits, reference(input_ids=text).logits)
    small = pretrained_language_model(str(tmp_path), quantize="nf4")
    quantize(model, "nf4")
    assert torch.equal(small(text).logits, model(text).logits)
    with torch.device("meta"):
        assert type(pretrained_language_model(str(tmp_path))) is Gemma3ForCausalLM
    tensors = load_file(tmp_path / "model.safetensors")
    name = next(name for name in tensors if name.endswith("layers.0.mlp.up_proj.weight"))
    save_file(
        {key: each for key, each in tensors.items() if key != name}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    for kind in (None, "nf4"):
        with pytest.raises(ValueError, match=r"1 missing tensors, among them .*layers\.0\.mlp\.up_proj\.weight"):
            pretrained_language_model(str(tmp_path), quantize=kind)

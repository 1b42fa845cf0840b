"""A language model that has layers with linear attention beside those with full attention: Qwen3.5."""

import pytest
import torch
from tests.minicpm_folder import TEXT
from torch import nn
from transformers import DynamicCache, Qwen3_5ForCausalLM, Qwen3_5TextConfig

from foveal.connectors import MlpProjector
from foveal.core import Size
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, VisionLanguageModel, byte_tokenizer
from foveal.models.estimates.memory import answering, fitting
from foveal.models.language_models.quantize import decoder_linears
from foveal.models.lora import Lora, add_lora, merge_lora

KINDS = ["linear_attention", "linear_attention", "full_attention"]


def qwen3_5():
    torch.manual_seed(0)
    return Qwen3_5ForCausalLM(
        Qwen3_5TextConfig(**TEXT | {"vocab_size": 260, "layer_types": KINDS, "num_hidden_layers": len(KINDS)})
    ).eval()


def model(language_model):
    return VisionLanguageModel(
        VisionTransformer(16, 1, 2, 24, 8, 16, layers=(-1,)),
        MlpProjector,
        language_model,
        byte_tokenizer(),
        PadToSquare(16),
        max_length=500,
    )


def test_the_estimated_cache_is_the_real_one():
    """Keys and values grow with the answer, states do not."""
    with torch.device("meta"):
        shapes = model(qwen3_5())
    text = 30
    real = qwen3_5()
    sizes = []
    for tokens in (4 + text, 4 + text + 20):
        cache = DynamicCache(config=real.config)
        with torch.no_grad():
            real(torch.zeros(1, tokens, dtype=torch.long), past_key_values=cache, use_cache=True)
        states = [(layer.conv_states[0], layer.recurrent_states[0]) for layer in cache.layers[:2]]
        tensors = [*(state for each in states for state in each), cache.layers[2].keys, cache.layers[2].values]
        sizes.append(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
    pictures = [Size(16, 16)]
    assert answering(shapes, pictures, text=text).cache == sizes[0]
    assert answering(shapes, pictures, text=text, new_tokens=20).cache == sizes[1]
    longer = fitting(shapes, pictures, text=2 * text).activations
    assert 0 < fitting(shapes, pictures, text=text).activations < longer


def test_every_linear_layer_of_both_kinds_is_found():
    names = decoder_linears(qwen3_5())
    mlps = {f"mlp.{part}_proj" for part in ("gate", "up", "down")}
    linear = {f"linear_attn.{part}" for part in ("in_proj_qkv", "in_proj_z", "in_proj_a", "in_proj_b", "out_proj")}
    full = {f"self_attn.{part}_proj" for part in "qkvo"}
    expected = [linear | mlps, linear | mlps, full | mlps]
    assert sorted(names) == sorted(
        f"model.layers.{number}.{name}" for number, of_layer in enumerate(expected) for name in of_layer
    )


@pytest.mark.parametrize(
    ("layer", "name", "odd"),
    [
        (1, "linear_attn.in_proj_b", nn.Identity()),
        (0, "linear_attn.conv1d", nn.Conv1d(128, 128, 2)),
        (2, "self_attn.extra", nn.Conv1d(128, 64, 2, groups=64)),
    ],
    ids=["unequal", "dense_filters", "filters_of_two_channels"],
)
def test_layers_that_are_not_what_they_seem_are_refused(layer, name, odd):
    language_model = qwen3_5()
    parent, _, leaf = name.rpartition(".")
    setattr(language_model.model.layers[layer].get_submodule(parent), leaf, odd)
    with pytest.raises(ValueError, match="the same number of linear layers in each layer of a kind"):
        decoder_linears(language_model)


def test_adapters_on_both_kinds_are_merged():
    whole = model(qwen3_5())
    assert len(add_lora(whole, Lora(rank=2, alpha=4, dropout=0.0))) == 2 * 8 + 7
    for name, weight in whole.language_model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.1)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        before = whole.language_model(ids).logits
        merge_lora(whole.language_model)
        torch.testing.assert_close(whole.language_model(ids).logits, before, atol=1e-5, rtol=0)

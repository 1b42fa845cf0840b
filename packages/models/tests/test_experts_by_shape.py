"""The cost of mixtures of experts, whose choice of experts depends on data that an estimate does not have."""

import torch
from transformers import AutoConfig

from foveal.connectors import MlpProjector
from foveal.core import Size
from foveal.encoders import VisionTransformer
from foveal.models import PadToSquare, VisionLanguageModel, byte_tokenizer
from foveal.models.estimates.cost import flops, prefill
from foveal.models.estimates.experts_by_shape import experts_by_shape
from foveal.models.estimates.memory import answering, fitting
from foveal.models.language_models.causal import causal_class

TOKENS = 40


def mixture():
    config = AutoConfig.for_model(
        "deepseek_ocr2_text",
        vocab_size=262,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        n_routed_experts=4,
        n_shared_experts=1,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        mlp_layer_types=["dense", "sparse"],
    )
    torch.manual_seed(0)
    return causal_class(config).from_config(config).eval()


def test_a_prefill_counts_as_many_experts_as_run():
    """Beside the same model with weights, whose routed experts are counted one by one."""
    model = mixture()
    with torch.no_grad():
        model.model.layers[1].mlp.gate.weight.normal_()  # new routers send every token to the same experts
    embedded = torch.randn(1, TOKENS, 32)
    run = flops(lambda: model(inputs_embeds=embedded, use_cache=True, logits_to_keep=1))
    with torch.device("meta"):
        shapes = mixture()
    assert prefill(shapes, TOKENS) == run


def test_outside_the_experts_are_the_model_s_own():
    model = mixture()
    ids = torch.arange(TOKENS)[None]
    before = model(ids).logits
    with experts_by_shape(model):
        assert model(ids).logits.shape == before.shape
    assert torch.equal(model(ids).logits, before)


def test_memory_of_an_answer():
    with torch.device("meta"):
        model = VisionLanguageModel(
            VisionTransformer(16, 1, 2, 32, 8, 32),
            MlpProjector,
            mixture(),
            byte_tokenizer(),
            PadToSquare(32),
            max_length=400,
        )
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    assert answering(model, [Size(40, 30)], text=20, new_tokens=8).total > weights
    # Gradients, and two states of the optimizer.
    assert fitting(model, [Size(40, 30)], text=20).total > 4 * weights

"""Text models of transformers without a causal language model of their own, held with an output layer."""

import pytest
import torch
import transformers
from PIL import Image
from transformers import AutoConfig

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import (
    PadToSquare,
    VisionLanguageModel,
    answer,
    byte_tokenizer,
    load,
    pretrained_language_model,
    qwen3_vl_text,
    save,
)
from foveal.models.checkpoints.adapter import save_adapter
from foveal.models.estimates.cost import prefill
from foveal.models.language_models.causal import HELD, causal_class
from foveal.models.language_models.injection import decoder_layers
from foveal.models.language_models.quantize import quantize, quantized_layers
from foveal.models.lora import Lora, add_lora, merge_lora

SIZES = {
    "vocab_size": 262,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
OWN = {
    "qwen3_vl_text": {"head_dim": 32},
    "deepseek_ocr2_text": {
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "mlp_layer_types": ["dense", "sparse"],
    },
}


def config_of(kind, *, tied=False):
    return AutoConfig.for_model(kind, **SIZES, **OWN[kind], tie_word_embeddings=tied)


def held(kind, *, tied=False):
    torch.manual_seed(0)
    return causal_class(config_of(kind)).from_config(config_of(kind, tied=tied)).eval()


def model_of(language_model):
    encoder = VisionTransformer(16, 1, 2, 32, 8, 32)
    plan = PadToSquare(32)
    return VisionLanguageModel(encoder, MlpProjector, language_model, byte_tokenizer(), plan, max_length=400).eval()


@pytest.fixture(params=HELD)
def kind(request):
    return request.param


IDS = torch.tensor([[5, 9, 200, 31, 7]])


@torch.no_grad()
def test_logits_are_those_of_the_whole_model(kind):
    """Beside transformers' vision-language model, of which the text model is a part."""
    whole = kind.removesuffix("_text")
    ours = held(kind)
    their_config = AutoConfig.for_model(whole, text_config=config_of(kind).to_dict())
    with torch.device("meta"):
        theirs = transformers.AutoModelForImageTextToText.from_config(their_config)
    theirs.model.language_model, theirs.lm_head = ours.model, ours.lm_head
    expected = theirs.eval()(input_ids=IDS).logits
    torch.testing.assert_close(ours(IDS).logits, expected, rtol=0, atol=0)
    torch.testing.assert_close(ours(IDS, logits_to_keep=2).logits, expected[:, -2:])
    columns = torch.tensor([1, 3])
    torch.testing.assert_close(ours(IDS, logits_to_keep=columns).logits, expected[:, columns])


@torch.no_grad()
def test_cached_tokens_are_those_of_the_whole_sequence(kind):
    model = held(kind)
    generated = model.generate(IDS, max_new_tokens=6, do_sample=False)
    for length in range(IDS.shape[1], generated.shape[1]):
        assert int(model(generated[:, :length]).logits[0, -1].argmax()) == int(generated[0, length])


@pytest.mark.parametrize("tied", [False, True])
def test_a_checkpoint_comes_back(kind, tied, tmp_path):
    """Also for transformers: the folder of the language model is one of the text model."""
    model = model_of(held(kind, tied=tied))
    again = load(save(model, tmp_path / "checkpoint"))
    first, second = model.language_model, again.language_model
    assert type(second) is type(first)
    assert (first.lm_head.weight is first.get_input_embeddings().weight) is tied
    assert (second.lm_head.weight is second.get_input_embeddings().weight) is tied
    assert first.state_dict().keys() == second.state_dict().keys()
    torch.testing.assert_close(second(IDS).logits, first(IDS).logits, rtol=0, atol=0)
    theirs = getattr(transformers, HELD[kind]).from_pretrained(tmp_path / "checkpoint" / "language_model")
    torch.testing.assert_close(theirs(IDS).last_hidden_state, first.model(IDS).last_hidden_state, rtol=0, atol=0)


def test_a_damaged_folder_is_refused(tmp_path):
    model = held("qwen3_vl_text")
    del model.lm_head
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"1 missing tensors, among them \['lm_head.weight'"):
        pretrained_language_model(str(tmp_path))


@pytest.mark.slow
def test_quantised_while_it_is_read(tmp_path):
    held("qwen3_vl_text").save_pretrained(tmp_path / "full")
    model = pretrained_language_model(str(tmp_path / "full"), quantize="nf4-dq")
    names = [name.rpartition(".")[2] for name in quantized_layers(model)]
    assert sorted(names) == sorted(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] * 2)
    model.save_pretrained(tmp_path / "quantised")
    again = pretrained_language_model(str(tmp_path / "quantised"))
    torch.testing.assert_close(again(IDS).logits, model(IDS).logits, rtol=0, atol=0)
    in_place = held("qwen3_vl_text")
    assert quantize(in_place, "nf4-dq") == quantized_layers(model)
    torch.testing.assert_close(again(IDS).logits, in_place(IDS).logits, rtol=0, atol=0)


def test_lora_and_training(kind):
    model = model_of(held(kind)).train()
    names = add_lora(model, Lora(rank=2, alpha=4))
    assert all(name.startswith("model.layers.") for name in names)
    ids = torch.arange(20)[None]
    model(ids).logsumexp(-1).sum().backward()
    for name, weight in model.language_model.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad == ("lora_" in name), name
    merge_lora(model.language_model)
    assert len(decoder_layers(model.language_model)) == 2


@pytest.mark.slow
def test_adapters_come_back(kind, tmp_path):
    save(model_of(held(kind)), tmp_path / "base")
    model = load(tmp_path / "base")
    add_lora(model, Lora(rank=2, alpha=4))
    for name, weight in model.language_model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.1)
    again = load(save_adapter(model, tmp_path / "adapter", base=tmp_path / "base"))
    torch.testing.assert_close(again.language_model(IDS).logits, model.eval().language_model(IDS).logits)
    assert not torch.equal(again.language_model(IDS).logits, held(kind)(IDS).logits)


def test_cost_on_the_meta_device():
    with torch.device("meta"):
        model = held("qwen3_vl_text")
    assert prefill(model, 200) > 2 * 200 * sum(weight.numel() for weight in model.model.layers.parameters())


def test_gradient_checkpointing_changes_nothing(kind):
    model = held(kind).train()
    plain = torch.autograd.grad(model(IDS).logits.square().sum(), model.lm_head.weight)[0]
    model.activation_checkpointing_enable()
    assert decoder_layers(model)[0].gradient_checkpointing
    torch.testing.assert_close(torch.autograd.grad(model(IDS).logits.square().sum(), model.lm_head.weight)[0], plain)


def test_a_new_language_model_of_qwen3_vl():
    """With the published division of frequencies, and with every layer as the identity at first."""
    with torch.device("meta"):
        rope = qwen3_vl_text(262, width=64, depth=1, heads=2, mlp_width=8, head_width=128).config.rope_parameters
    assert (rope["mrope_section"], rope["rope_theta"]) == ([24, 20, 20], 5e6)
    model = qwen3_vl_text(262, width=96, depth=2, heads=3, key_heads=1, mlp_width=32, zero_output=True)
    assert model.config.rope_parameters["mrope_section"] == [6, 5, 5]
    assert model.lm_head.weight is model.get_input_embeddings().weight
    rows = model.get_input_embeddings()(IDS)
    torch.testing.assert_close(model(IDS).logits, model.lm_head(model.model.norm(rows)))


def test_it_answers(kind):
    assert isinstance(answer(model_of(held(kind)), Image.new("RGB", (40, 20)), "What?", max_new_tokens=4), str)

"""Language models with new weights, and from folders."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2ForCausalLM

from foveal.core import load_exact
from foveal.models import llama, pretrained_language_model
from foveal.models.language_models.build import opt
from foveal.models.language_models.qwen1 import QWEN1, qwen2_config_of, qwen2_tensors

TINY = {"width": 32, "depth": 2, "heads": 4, "mlp_width": 48}


def saved(model, folder):
    model.save_pretrained(folder)
    return str(folder)


def tiny_opt(folder, context=64):
    """A folder with an OPT whose every parameter is random."""
    model = opt(70, **TINY, context=context)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval(), saved(model, folder)


@torch.no_grad()
def logits(model, ids):
    return model.eval()(torch.tensor([ids])).logits


def test_llama_s_key_heads():
    """By default there are as many key heads as query heads; fewer change only keys and values."""
    every, shared = llama(70, **TINY), llama(70, **TINY, key_heads=2)
    assert (every.config.num_key_value_heads, shared.config.num_key_value_heads) == (4, 2)
    assert llama(70, **TINY, key_heads=4).config.to_dict() == every.config.to_dict()
    shapes = {name: tuple(weight.shape) for name, weight in shared.named_parameters()}
    differ = {name for name, weight in every.named_parameters() if shapes[name] != tuple(weight.shape)}
    assert differ == {f"model.layers.{layer}.self_attn.{part}_proj.weight" for layer in (0, 1) for part in "kv"}
    assert shapes["model.layers.0.self_attn.k_proj.weight"] == (2 * 32 // 4, 32)
    for wrong in (0, 3):
        with pytest.raises(ValueError, match=f"heads 4 is not a multiple of key_heads {wrong}"):
            llama(70, **TINY, key_heads=wrong)


def test_opt_has_the_published_size():
    with torch.device("meta"):
        model = opt(50272, width=768, depth=12, heads=12, mlp_width=3072)
    assert sum(parameter.numel() for parameter in model.parameters()) == 125_239_296
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_no_row_of_a_new_opt_is_kept_from_learning():
    model = opt(70, **TINY)
    assert model.get_input_embeddings().padding_idx is None
    assert bool(model.get_input_embeddings().weight.abs().sum(dim=1).all())


def test_opt_of_the_reference(golden):
    data = golden("vary/vary_tiny")
    model = opt(70, **TINY, context=64).eval()
    kept = ("w.model.decoder.", "w.lm_head.")
    weights = {name.removeprefix("w."): value for name, value in data.tensors.items() if name.startswith(kept)}
    load_exact(model, weights, source="vary_tiny")
    mask = data.tensors["attention_mask"]
    with torch.no_grad():
        output = model(inputs_embeds=data.tensors["inputs_embeds"], attention_mask=mask).logits
    real = mask.bool()
    torch.testing.assert_close(output[real], data.tensors["logits"][real], rtol=0, atol=data.meta["tol_logits"])


def test_a_folder_comes_back(tmp_path):
    model, folder = tiny_opt(tmp_path)
    again = pretrained_language_model(folder)
    torch.testing.assert_close(logits(again, [2, 5, 9]), logits(model, [2, 5, 9]), rtol=0, atol=0)
    assert pretrained_language_model(folder, dtype="bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize("tied", [True, False])
def test_rows_for_new_tokens_begin_as_the_mean(tmp_path, tied):
    model = opt(70, **TINY) if tied else llama(70, **TINY)
    folder = saved(model, tmp_path)
    torch.manual_seed(1)
    more = pretrained_language_model(folder, vocabulary=73)
    torch.manual_seed(2)
    again = pretrained_language_model(folder, vocabulary=73)
    for old, new, other in (
        (model.get_input_embeddings(), more.get_input_embeddings(), again.get_input_embeddings()),
        (model.get_output_embeddings(), more.get_output_embeddings(), again.get_output_embeddings()),
    ):
        assert torch.equal(new.weight[:70], old.weight)
        torch.testing.assert_close(new.weight[70:], old.weight.mean(dim=0).expand(3, -1), rtol=0, atol=1e-8)
        assert torch.equal(new.weight, other.weight)
    assert (more.get_output_embeddings().weight is more.get_input_embeddings().weight) == tied
    assert more.config.vocab_size == 73
    torch.testing.assert_close(logits(more, [2, 5])[..., :70], logits(model, [2, 5]), rtol=0, atol=1e-6)
    assert torch.equal(
        logits(pretrained_language_model(saved(more, tmp_path / "more")), [71, 72]), logits(more, [71, 72])
    )


def test_rows_are_not_dropped(tmp_path):
    model, folder = tiny_opt(tmp_path)
    same = pretrained_language_model(folder, vocabulary=70)
    assert torch.equal(logits(same, [2, 5]), logits(model, [2, 5]))
    with pytest.raises(ValueError, match="has 70 rows for tokens, a vocabulary of 69 would drop some"):
        pretrained_language_model(folder, vocabulary=69)


def test_positions_for_a_longer_context(tmp_path):
    model, folder = tiny_opt(tmp_path, context=20)
    longer = pretrained_language_model(folder, context=50)
    old = model.model.decoder.embed_positions.weight
    new = longer.model.decoder.embed_positions.weight
    assert new.shape == (52, 32)
    assert torch.equal(new[:2], old[:2])
    for place in range(50):
        position = place * 19 / 49
        below = min(int(position), 18)
        expected = torch.lerp(old[2 + below], old[3 + below], position - below)
        torch.testing.assert_close(new[2 + place], expected, rtol=0, atol=1e-6)
    assert new.requires_grad
    assert longer.config.max_position_embeddings == 50
    page = [5] * 50
    assert torch.isfinite(logits(longer, page)).all()
    again = pretrained_language_model(saved(longer, tmp_path / "longer"))
    assert torch.equal(logits(again, page), logits(longer, page))


def test_contexts_that_are_refused(tmp_path):
    model, folder = tiny_opt(tmp_path / "opt", context=20)
    same = pretrained_language_model(folder, context=20)
    assert torch.equal(logits(same, [2, 5]), logits(model, [2, 5]))
    with pytest.raises(ValueError, match="positions for 20 tokens, a context of 19 would be shorter"):
        pretrained_language_model(folder, context=19)
    with pytest.raises(ValueError, match="is a llama, which has no table of learned positions"):
        pretrained_language_model(saved(llama(70, **TINY), tmp_path / "llama"), context=4096)


QWEN1_CONFIG = {
    "model_type": "qwen",
    "architectures": ["QWenLMHeadModel"],
    "auto_map": {"AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"},
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 88,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "kv_channels": 8,
    "layer_norm_epsilon": 1e-6,
    "rotary_emb_base": 10000,
    "rotary_pct": 1.0,
    "no_bias": True,
    "scale_attn_weights": True,
    "tie_word_embeddings": False,
    "seq_length": 64,
    "max_position_embeddings": 128,
}


@pytest.fixture
def qwen1(golden):
    """The reference, and its weights together with the masks found in old files."""
    data = golden("vary/qwen1_lm")
    weights = golden.strip(data.tensors, "w.")
    masks = {
        "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
        "transformer.h.1.attn.bias": torch.ones(1, 1, 4, 4, dtype=torch.bool),
    }
    return data, weights, weights | masks


def assert_agrees(model, data):
    mask = data.tensors["attention_mask"]
    with torch.no_grad():
        output = model(input_ids=data.tensors["input_ids"], attention_mask=mask).logits
    real = mask.bool()
    torch.testing.assert_close(output[real], data.tensors["logits"][real], rtol=0, atol=data.meta["tol"])


def qwen1_folder(folder, tensors, **fields):
    (folder / "config.json").write_text(json.dumps(QWEN1_CONFIG | fields), encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return str(folder)


def test_the_first_qwen_as_qwen2(qwen1):
    data, weights, with_masks = qwen1
    model = Qwen2ForCausalLM(qwen2_config_of(QWEN1_CONFIG, source="reference")).eval()
    load_exact(model, qwen2_tensors(with_masks, source="reference"), source="reference")
    assert_agrees(model, data)
    there_and_back = QWEN1.read(model.state_dict())
    assert set(there_and_back) == set(weights)
    assert all(torch.equal(there_and_back[name], tensor) for name, tensor in weights.items())


def test_a_folder_of_the_first_qwen(qwen1, tmp_path):
    data, _, with_masks = qwen1
    model = pretrained_language_model(qwen1_folder(tmp_path, with_masks))
    assert_agrees(model, data)
    assert not model.training
    assert model.config.max_position_embeddings == 64
    (tmp_path / "as_qwen2").mkdir()
    model.save_pretrained(tmp_path / "as_qwen2")
    assert "model.layers.1.self_attn.v_proj.bias" in load_file(tmp_path / "as_qwen2" / "model.safetensors")
    assert_agrees(pretrained_language_model(str(tmp_path / "as_qwen2")), data)
    assert pretrained_language_model(str(tmp_path), dtype="bfloat16").dtype == torch.bfloat16
    assert pretrained_language_model(str(tmp_path), vocabulary=64).config.vocab_size == 64


def test_folders_of_the_first_qwen_that_are_refused(qwen1, tmp_path):
    _, weights, _ = qwen1

    def refused(tensors, message, **fields):
        with pytest.raises(ValueError, match=message):
            pretrained_language_model(qwen1_folder(tmp_path, tensors, **fields))

    without = {name: tensor for name, tensor in weights.items() if name != "transformer.h.1.mlp.w2.weight"}
    refused(without, r"1 missing tensors, among them \['model.layers.1.mlp.gate_proj.weight'\]")
    refused(weights | {"transformer.visual.proj": torch.zeros(2)}, f"{tmp_path}: no row .* transformer.visual.proj")
    refused(weights, "mismatched tensors", intermediate_size=80)
    refused(weights, "rotary_pct is 0.25, only 1.0 can be converted", rotary_pct=0.25)
    refused(weights, "kv_channels is 16, only 8 can be converted", kv_channels=16)
    (tmp_path / "config.json").write_text('{"model_type": "qwen", "vocab_size": 61}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"not a configuration of the first Qwen, \['hidden_size', .* are missing"):
        pretrained_language_model(str(tmp_path))


def test_partial_matches_are_refused(tmp_path):
    _, folder = tiny_opt(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    name = "model.decoder.layers.0.fc1.bias"
    for changed, message in (
        ({key: value for key, value in tensors.items() if key != name}, "1 missing tensors"),
        (tensors | {"model.decoder.extra": torch.zeros(2)}, "1 unexpected tensors"),
        (tensors | {name: torch.zeros(47)}, "1 mismatched tensors"),
    ):
        save_file(changed, path, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=message):
            pretrained_language_model(folder, vocabulary=80, context=100)


def test_a_damaged_configuration_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json"):
        pretrained_language_model(str(tmp_path))

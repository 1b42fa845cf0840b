"""LoRA: where adapters are added, what is trained, and that a folder of them restores the model."""

import shutil

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import (
    DeepStackMerge,
    DeepStackPlan,
    Merged,
    PadToSquare,
    Turn,
    VisionLanguageModel,
    byte_tokenizer,
    generate,
    llama,
    load,
    load_adapter,
    opt,
    qwen3,
    save,
)
from foveal.models.checkpoints.adapter import is_adapter, save_adapter
from foveal.models.checkpoints.fingerprint import weights_hash
from foveal.models.language_models.quantize import quantize, quantized_layers
from foveal.models.lora import Lora, add_lora, base_state, has_lora, lora_of, merge_lora

SIZES = {"width": 64, "depth": 2, "heads": 4, "mlp_width": 96}
FAMILIES = {"llama": (llama, 7), "qwen3": (qwen3, 7), "opt": (opt, 6)}
SMALL = Lora(rank=4, alpha=8, dropout=0.0)


def network(family="llama", *, stacked=False):
    torch.manual_seed(0)
    return VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        MlpProjector,
        FAMILIES[family][0](260, **SIZES | ({"depth": 4} if stacked else {})),
        byte_tokenizer(),
        DeepStackPlan(16) if stacked else PadToSquare(16),
        merge=(lambda width: DeepStackMerge(width, start_layer=0)) if stacked else None,
        system="",
    ).eval()


def batch_of(model, *, side="right"):
    picture = Image.linear_gradient("L").resize((32, 24)).convert("RGB")
    question, answer = Turn("user", "<image>\nWhat?"), Turn("assistant", "Nothing.")
    processor = model.processor
    if side == "left":
        return processor.collate([processor.encode_prompt([picture], [question])], side="left")
    return processor.collate([processor.encode([picture], [question, answer])])


@torch.no_grad()
def logits(model, batch):
    return model(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes)


def shake(model):
    """Fill adapters as if trained: with B at zero, mistakes in the added term would go unseen."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name or name.startswith(("connector", "merge")):
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator))


def moved_by_training(model, batch):
    """Names of the weights that two steps change: A has a gradient only in the second, when B is no longer zero."""
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], weight_decay=0.0)
    model.train()
    for _ in range(2):
        optimizer.zero_grad()
        loss = model.loss(batch)
        (loss.total / loss.tokens).backward()
        optimizer.step()
    model.eval()
    return {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}


def expected_to_move(model):
    return {name for name, _ in model.named_parameters() if ".lora_" in name or name.startswith("connector.")}


@pytest.fixture
def adapted(tmp_path):
    """A saved base, and adapters saved on it."""
    save(network(), tmp_path / "base")
    model = load(tmp_path / "base")
    add_lora(model, SMALL)
    shake(model)
    save_adapter(model, tmp_path / "adapter", base=tmp_path / "base")
    return model, tmp_path / "adapter"


@pytest.mark.parametrize("family", FAMILIES)
def test_beside_every_linear_layer_of_the_decoder_and_no_other(family):
    model = network(family)
    before, batch = dict(model.named_modules()), batch_of(model)
    plain = logits(model, batch)
    names = add_lora(model, SMALL)
    assert len(names) == FAMILIES[family][1] * SIZES["depth"]
    after, inside = dict(model.named_modules()), {f"language_model.{name}" for name in names}
    for name, module in before.items():
        if isinstance(module, torch.nn.Linear):
            assert (after[name] is module) == (name not in inside), name
            assert (name in inside) == (name.startswith("language_model.model.") and ".layers." in name), name
    assert torch.equal(logits(model, batch), plain)


def test_number_of_weights_at_the_published_size():
    """LLaVA-1.5's scripts train 319.8 million adapter weights on Vicuna-7B."""
    with torch.device("meta"):
        language_model = llama(32000, width=4096, depth=32, heads=32, mlp_width=11008)
        model = VisionLanguageModel(
            VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
            MlpProjector,
            language_model,
            byte_tokenizer(),
            PadToSquare(16),
        )
        assert len(add_lora(model, Lora())) == 7 * 32
    trained = sum(weight.numel() for weight in language_model.parameters() if weight.requires_grad)
    assert trained == 32 * 128 * (4 * 2 * 4096 + 3 * (4096 + 11008)) == 319_815_680


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_moves_adapters_and_connector_only(family):
    model = network(family)
    add_lora(model, SMALL)
    assert moved_by_training(model, batch_of(model)) == expected_to_move(model)
    assert not any(weight.requires_grad for name, weight in model.named_parameters() if name.startswith("encoder."))


def test_what_is_added():
    """alpha / rank times B A x, against the formula."""
    model = network()
    add_lora(model, SMALL)
    shake(model)
    layer = model.language_model.model.layers[1].mlp.down_proj
    x = torch.randn(3, SIZES["mlp_width"])
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = x @ layer.base_layer.weight.T + 8 / 4 * (x @ a.T @ b.T)
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=1e-5)
    assert lora_of(model.language_model) == SMALL


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_is_the_same(family):
    model = network(family)
    batch = batch_of(model)
    plain, names = logits(model, batch), set(model.state_dict())
    add_lora(model, SMALL)
    shake(model)
    adapted = logits(model, batch)
    assert (adapted - plain).abs().max() > 0.05
    merge_lora(model.language_model)
    torch.testing.assert_close(logits(model, batch), adapted, atol=2e-5, rtol=0)
    assert set(model.state_dict()) == names
    assert not has_lora(model.language_model)


def test_base_state_is_the_base(tmp_path):
    model = network("qwen3")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    save(model, tmp_path / "plain")
    add_lora(model, SMALL)
    again = base_state(model.state_dict())
    assert again.keys() == before.keys()
    save(model, tmp_path / "stripped", state=again)
    for file in ("encoder", "connector", "language_model/model"):
        first, second = (load_file(tmp_path / folder / f"{file}.safetensors") for folder in ("plain", "stripped"))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)
    load(tmp_path / "stripped")


def test_saved_and_loaded(adapted):
    model, folder = adapted
    assert {path.name for path in folder.iterdir()} == {
        "adapter.safetensors",
        "adapter.yaml",
        "connector.safetensors",
        "manifest.yaml",
    }
    assert is_adapter(folder)
    assert not is_adapter(folder.parent / "base")
    again = load_adapter(folder)
    batch = batch_of(model)
    assert torch.equal(logits(again, batch), logits(model, batch))
    assert generate(again, batch_of(model, side="left"), max_new_tokens=4) == generate(
        model, batch_of(model, side="left"), max_new_tokens=4
    )
    assert again.processor.system == ""
    assert not again.training


def test_a_base_beside_is_found_where_both_were_moved(adapted, tmp_path):
    model, _ = adapted
    (tmp_path / "elsewhere").mkdir()
    for name in ("base", "adapter"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    batch = batch_of(model)
    assert torch.equal(logits(load_adapter(tmp_path / "elsewhere" / "adapter"), batch), logits(model, batch))
    shutil.move(tmp_path / "elsewhere" / "base", tmp_path / "other")
    with pytest.raises(ValueError, match=r"needs its base, and there is no folder .*change base\.folder in"):
        load_adapter(tmp_path / "elsewhere" / "adapter")
    load_adapter(tmp_path / "elsewhere" / "adapter", base=tmp_path / "other")


def test_the_wrong_base_is_refused(adapted, tmp_path):
    _, folder = adapted
    file = tmp_path / "base" / "language_model" / "model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[3]
    tensors[name].view(-1)[0] += 1e-6
    before = weights_hash(tmp_path / "base")
    save_file(tensors, file, metadata={"format": "pt"})
    after = weights_hash(tmp_path / "base")
    assert before != after
    with pytest.raises(ValueError, match=f"have the sha256 {after}, the adapters were trained on {before}"):
        load_adapter(folder)


def test_the_hash_does_not_see_shards_but_names_shapes_and_dtypes(tmp_path):
    model = network()
    save(model, tmp_path / "base")
    whole = weights_hash(tmp_path / "base")
    shutil.rmtree(tmp_path / "base" / "language_model")
    model.language_model.save_pretrained(tmp_path / "base" / "language_model", max_shard_size="100KB")
    assert len(list((tmp_path / "base" / "language_model").glob("*.safetensors"))) > 1
    assert weights_hash(tmp_path / "base") == whole

    def hash_of(name, tensor):
        save_file({name: tensor}, tmp_path / "x.safetensors")
        return weights_hash(tmp_path / "x.safetensors")

    zeros = torch.zeros(2, 3)
    different = {
        hash_of(name, tensor)
        for name, tensor in (("a", zeros), ("b", zeros), ("a", zeros.T.contiguous()), ("a", zeros.view(torch.int32)))
    }
    assert len(different) == 4
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no safetensors"):
        weights_hash(tmp_path / "empty")


def test_folders_that_do_not_fit(adapted, tmp_path):
    model, folder = adapted
    with pytest.raises(ValueError, match="holds no adapter"):
        save_adapter(model, tmp_path / "base", base=tmp_path / "base")
    save_adapter(model, folder, base=tmp_path / "base")
    with pytest.raises(ValueError, match=r"it has no manifest\.yaml"):
        load_adapter(tmp_path / "base")
    (folder / "adapter.yaml").write_text(yaml.safe_dump({"rank": 8, "alpha": 8.0, "dropout": 0.0}))
    with pytest.raises(ValueError, match="28 of 28 tensors"):
        load_adapter(folder)
    (folder / "adapter.yaml").write_text(yaml.safe_dump({"rank": 8, "size": 3}))
    with pytest.raises(ValueError, match="does not give rank, alpha and dropout"):
        load_adapter(folder)


def test_what_is_refused():
    model = network()
    with pytest.raises(ValueError, match="no adapters"):
        merge_lora(model.language_model)
    add_lora(model, SMALL)
    with pytest.raises(ValueError, match="has adapters already"):
        add_lora(model, SMALL)
    for wrong in ({"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}):
        with pytest.raises(ValueError, match="rank must be at least 1"):
            Lora(**wrong)


def test_without_peft(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ImportError, match=r"foveal-models\[lora\]"):
        add_lora(network(), SMALL)


@pytest.mark.parametrize("family", FAMILIES)
def test_stacks_still_enter_and_checkpointing_changes_nothing(family):
    gradients = {}
    for recomputed in (False, True):
        model = network(family, stacked=True)
        # OPT has its own dropout.
        for module in model.modules():
            if hasattr(module, "dropout") and isinstance(module.dropout, float):
                module.dropout = 0.0
        add_lora(model, SMALL)
        shake(model)
        batch = batch_of(model)
        if recomputed:
            model.language_model.activation_checkpointing_enable({"use_reentrant": False})
        model.train()
        model.loss(batch).total.backward()
        gradients[recomputed] = {
            name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
        }
        model.eval()
        stacked = logits(model, batch)
        merged = model.merge.forward
        model.merge.forward = lambda *arguments, merged=merged: Merged(merged(*arguments).tokens)
        assert (stacked - logits(model, batch)).abs().max() > 1e-3
    assert gradients[True].keys() == gradients[False].keys()
    assert any(".lora_A." in name for name in gradients[True])
    assert any(name.startswith("connector.") for name in gradients[True])
    for name, gradient in gradients[False].items():
        torch.testing.assert_close(gradients[True][name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["nf4", "nf4-dq", "int8"])
def test_on_a_quantised_base(kind, tmp_path):
    save(network(), tmp_path / "base")
    model = load(tmp_path / "base", quantize=kind)
    names = quantized_layers(model.language_model)
    assert add_lora(model, SMALL) == names
    assert quantized_layers(model.language_model) == [f"{name}.base_layer" for name in names]
    batch = batch_of(model)
    assert moved_by_training(model, batch) == expected_to_move(model)
    save_adapter(model, tmp_path / "adapter", base=tmp_path / "base")
    again = load_adapter(tmp_path / "adapter")
    assert torch.equal(logits(again, batch), logits(model, batch))
    with pytest.raises(ValueError, match=f"the base is quantised as {kind}"):
        merge_lora(model.language_model)


def test_on_a_base_that_was_saved_quantised(tmp_path):
    model = network()
    quantize(model.language_model, "nf4-dq")
    save(model, tmp_path / "base")
    model = load(tmp_path / "base")
    add_lora(model, SMALL)
    shake(model)
    save_adapter(model, tmp_path / "adapter", base=tmp_path / "base")
    batch = batch_of(model)
    assert torch.equal(logits(load_adapter(tmp_path / "adapter"), batch), logits(model, batch))
    save(model, tmp_path / "stripped", state=base_state(model.state_dict()))
    assert weights_hash(tmp_path / "stripped" / "language_model") == weights_hash(tmp_path / "base" / "language_model")


def test_adapters_of_a_16_bit_base_are_float32():
    model = network()
    model.bfloat16()
    add_lora(model, SMALL)
    kinds = {name.split(".")[-3]: weight.dtype for name, weight in model.named_parameters() if ".lora_" in name}
    assert kinds == {"lora_A": torch.float32, "lora_B": torch.float32}
    batch = batch_of(model)
    assert moved_by_training(model, batch) >= {name for name in expected_to_move(model) if ".lora_B." in name}
    assert logits(model, batch).dtype == torch.bfloat16

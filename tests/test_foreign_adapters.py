"""Adapters of LLaVA's own code and of peft, written by peft with the real names: converted, merged, trained on."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.lora_folders import ATTENTION, language_model, projector

from foveal.models import CropToSquare, PadToSquare, Turn, generate, load, load_adapter, save
from foveal.models.checkpoints.adapter import read_manifest
from foveal.models.language_models.quantize import recorded_kind
from foveal.models.lora import Lora
from recipes.commands.convert_adapter import convert_adapter
from recipes.commands.merge import merge
from recipes.module import Finetuning


def asked(model):
    picture = Image.linear_gradient("L").resize((40, 24)).convert("RGB")
    return model.processor.collate(
        [model.processor.encode_prompt([picture], [Turn("user", "<image>\nWhat?")])], side="left"
    )


@torch.no_grad()
def check_same(ours, theirs):
    """The same logits for a picture and a question, and the same greedy tokens."""
    batches = [asked(model) for model in (ours, theirs)]
    assert torch.equal(batches[0].input_ids, batches[1].input_ids)
    first, second = (
        model(batch.input_ids, batch.views, batch.attention_mask)
        for model, batch in zip((ours, theirs), batches, strict=True)
    )
    assert second.std() > 0.1
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)
    assert generate(ours, batches[0], max_new_tokens=8) == generate(theirs, batches[1], max_new_tokens=8)


@pytest.mark.parametrize("alone", [True, False])
def test_llavas_adapters(tmp_path, write_model, trained, run_convert, alone):
    """On a language model alone, or on a LLaVA whose projector is replaced."""
    base = write_model("base", language_model(), None if alone else projector(4))
    folder, reference = trained(pickled=alone)
    (folder / "README.md").write_text("about")
    torch.save({}, folder / "training_args.bin")
    out = tmp_path / "out"
    printed = run_convert(folder, out, "--base", base)
    kind = "bin" if alone else "safetensors"
    assert printed == (
        f"{out}/adapter: adapters of rank 4 on 14 layers, trained on None\n"
        f"its base: {out / 'base' if alone else base}\n"
        f"read: adapter_config.json, config.json, adapter_model.{kind}, non_lora_trainables.bin\n"
        "left out: training_args.bin (the state of a training), README.md (not needed)\n"
    )
    assert (out / "base").exists() == alone
    check_same(load(out / "adapter"), load(reference))
    assert max(merge(out / "adapter", tmp_path / "merged").values()) <= 1e-5
    check_same(load(tmp_path / "merged"), load(reference))
    if alone:
        return
    quantised = load(tmp_path / "merged", quantize="nf4-dq")
    again = load(save(quantised, tmp_path / "quantised"))
    assert recorded_kind(again.language_model.config) == "nf4-dq"
    check_same(again, quantised)


@pytest.mark.parametrize("layout", ["ours", "LLaVA's"])
def test_adapters_of_peft(tmp_path, write_model, trained, layout):
    """Only some layers have adapters, and alpha is scaled by the root of the rank."""
    base = write_model("base", language_model(), projector(4))
    if layout == "ours":
        base = save(load(base), tmp_path / "ours")
    folder, reference = trained(by_llava=False, targets=["q_proj", "v_proj"], use_rslora=True)
    convert_adapter(folder, tmp_path / "out", base=str(base))
    ours = load_adapter(tmp_path / "out" / "adapter")
    assert sum(".lora_A." in name for name, _ in ours.named_parameters()) == 4
    check_same(ours, load(reference))
    merge(tmp_path / "out" / "adapter", tmp_path / "merged")
    check_same(load(tmp_path / "merged"), load(reference))


def test_views_are_those_of_the_training(tmp_path, write_model, trained):
    """LLaVA's config.json decides how pictures are cut, whatever the base does otherwise."""
    base = save(load(write_model("base", language_model(), projector(4)), plan=CropToSquare(28)), tmp_path / "ours")
    folder, reference = trained()
    convert_adapter(folder, tmp_path / "out", base=str(base))
    ours = load(tmp_path / "out" / "adapter")
    assert isinstance(ours.processor.plan, PadToSquare)
    check_same(ours, load(reference))
    path = folder / "config.json"
    described = json.loads(path.read_text())
    for changes, message in (
        ({"mm_vision_select_layer": -1}, r"gives the layers \(-2,\), the adapters were trained with .* -1"),
        ({"image_aspect_ratio": "anyres"}, "has no merge, the adapters were trained with image_aspect_ratio anyres"),
    ):
        path.write_text(json.dumps(described | changes))
        with pytest.raises(ValueError, match=message):
            convert_adapter(folder, tmp_path / "other", base=str(base))


def test_a_base_of_other_parts_is_written(tmp_path, write_model, trained):
    """What was trained in full besides the projector belongs into the base."""
    base = write_model("base", language_model(), projector(4))
    table = language_model().lm_head.weight.detach() + 1
    folder, _ = trained(more={"lm_head.weight": table})
    convert_adapter(folder, tmp_path / "out", base=str(base))
    ours = load(tmp_path / "out" / "adapter")
    assert torch.equal(ours.language_model.lm_head.weight, table)
    assert torch.equal(load(tmp_path / "out" / "base").language_model.lm_head.weight, table)
    save(load(base), tmp_path / "ours")
    with pytest.raises(ValueError, match=r"lm_head\.weight was trained in full, which only a base in the layout"):
        convert_adapter(folder, tmp_path / "onto_ours", base=str(tmp_path / "ours"))


def test_training_goes_on(tmp_path, write_model, trained):
    """A step moves the same adapters and the connector, and no others."""
    base = write_model("base", language_model(), projector(4))
    folder, _ = trained(targets=ATTENTION)
    convert_adapter(folder, tmp_path / "out", base=str(base))
    network = load(tmp_path / "out" / "adapter")
    with pytest.raises(ValueError, match=r"has adapters with rank=4, alpha=8\.0, dropout=0\.05"):
        Finetuning(network, language_model_lr=1e-2, lora=Lora(rank=8))
    Finetuning(network, connector_lr=1e-2, language_model_lr=1e-2)
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    picture = Image.new("RGB", (30, 20), "red")
    processor = network.processor
    turns = [Turn("user", "<image>\nWhat?"), Turn("assistant", "Red.")]
    network.train()
    network.loss(processor.collate([processor.encode([picture], turns)])).total.backward()
    torch.optim.SGD([weight for weight in network.parameters() if weight.requires_grad], lr=1e-2).step()
    moved = {name for name, weight in network.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if ".lora_" in name or name.startswith("connector.")}
    assert sum(".lora_A." in name for name in moved) == 8


@pytest.mark.slow
def test_as_it_is_typed(tmp_path, write_model, trained, command):
    """Converted, answered with, merged, quantised, answered with, trained on."""
    base = write_model("base", language_model(), max_position_embeddings=2048)
    folder, _ = trained()
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": 2048}))
    Image.new("RGB", (40, 20), "red").save(tmp_path / "picture.png")
    question = ("--image", "picture.png", "--question", "What?", "--max_new_tokens", "4")

    assert "its base: out/base" in command("convert", folder, "out", "--base", base).stdout
    answered = command("predict", "--checkpoint", "out/adapter", *question).stdout
    command("merge", "out/adapter", "merged")
    assert command("predict", "--checkpoint", "merged", *question).stdout == answered
    command("quantize", "merged", "small")
    command("predict", "--checkpoint", "small", *question)

    start = ("--config", "llava", "--config", "lora", "--model.lora=null", "--checkpoint", "out/adapter")
    command("fit", *start, tiny=True)
    run = tmp_path / "runs" / "llava" / "version_0" / "adapter"
    before, after = (load_file(each / "adapter.safetensors") for each in (tmp_path / "out" / "adapter", run))
    assert before.keys() == after.keys()
    assert all((before[name] != after[name]).any() for name in before)
    assert read_manifest(run)["base"]["folder"] == str(tmp_path / "out" / "base")
    (tmp_path / "out" / "base").rename(tmp_path / "moved")
    moved = command("predict", "--checkpoint", "out/adapter", "--base", "moved", *question)
    assert moved.stdout == answered
    assert "put it there" in command("predict", "--checkpoint", "out/adapter", *question, code=1).stderr
    refused = command("predict", "--checkpoint", folder, *question, code=1).stderr
    assert "NEW_FOLDER --base BASE" in refused

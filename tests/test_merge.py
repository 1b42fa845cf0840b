"""Merging adapters into their base: the result is checked, and a merge that fails leaves nothing."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import (
    DeepStackMerge,
    DeepStackPlan,
    PadToSquare,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
    load,
    load_adapter,
    opt,
    qwen3,
    save,
)
from foveal.models.checkpoints.adapter import read_manifest, save_adapter
from foveal.models.language_models.quantize import quantize as quantize_in_place
from foveal.models.language_models.quantize import recorded_kind
from foveal.models.lora import Lora, add_lora, has_lora
from recipes.commands import merge as tool
from recipes.commands.merge import MergeError, merge, probe

FAMILIES = {"llama": llama, "qwen3": qwen3, "opt": opt}


@pytest.fixture
def trained(tmp_path):
    """Writes a base, and adapters like those of a training on it."""

    def write(family="llama", *, dtype=torch.float32, stored=None, kind=None, stacked=False):
        torch.manual_seed(0)
        model = VisionLanguageModel(
            VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
            MlpProjector,
            FAMILIES[family](260, width=64, depth=4 if stacked else 2, heads=4, mlp_width=96),
            byte_tokenizer(),
            DeepStackPlan(16) if stacked else PadToSquare(16),
            merge=(lambda width: DeepStackMerge(width, start_layer=0)) if stacked else None,
            system="",
        ).to(dtype)
        if stored is not None:
            quantize_in_place(model.language_model, stored)
        save(model, tmp_path / "base")
        model = load(tmp_path / "base", quantize=kind)
        add_lora(model, Lora(rank=4, alpha=8, dropout=0.0))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if ".lora_" in name or name.startswith("connector."):
                    weight.add_(0.05 * torch.randn_like(weight))
        return save_adapter(model, tmp_path / "adapter", base=tmp_path / "base")

    return write


@pytest.mark.parametrize("family", FAMILIES)
def test_the_merged_checkpoint_is_the_adapted_model(trained, tmp_path, family):
    adapter = trained(family)
    figures = merge(adapter, tmp_path / "merged")
    assert max(figures.values()) <= 1e-4
    wanted, merged = probe(load_adapter(adapter)), probe(load(tmp_path / "merged"))
    base = probe(load(tmp_path / "base"))
    for ours, theirs, before in zip(merged, wanted, base, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
        assert (theirs - before).abs().max() > 0.05
    assert not has_lora(load(tmp_path / "merged").language_model)


def test_with_stacks(trained, tmp_path):
    assert merge(trained(stacked=True), tmp_path / "merged")["merged"] <= 1e-4


def test_a_16_bit_base_stays_one(trained, tmp_path):
    adapter = trained(dtype=torch.bfloat16)
    figures = merge(adapter, tmp_path / "merged")
    assert figures["merged"] <= 1e-4 < figures["rounded"] < 0.1
    assert {weight.dtype for weight in load(tmp_path / "merged").parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_a_merge_that_does_not_agree_leaves_nothing(trained, tmp_path, monkeypatch, factor):
    adapter = trained()
    right = tool.merge_lora

    def wrong(language_model):
        right(language_model)
        with torch.no_grad():
            language_model.model.layers[0].mlp.down_proj.weight.mul_(factor)

    monkeypatch.setattr(tool, "merge_lora", wrong)
    with pytest.raises(MergeError, match="the merged model are off by"):
        merge(adapter, tmp_path / "merged")
    assert {path.name for path in tmp_path.iterdir()} == {"base", "adapter"}


def test_what_was_not_written_as_it_is_leaves_nothing(trained, tmp_path, monkeypatch):
    adapter = trained()
    right = tool.save

    def wrong(model, folder):
        right(model, folder)
        other = load(folder)
        torch.nn.init.normal_(other.connector.layers[0].weight)
        right(other, folder)

    monkeypatch.setattr(tool, "save", wrong)
    with pytest.raises(MergeError, match="the written checkpoint are off by"):
        merge(adapter, tmp_path / "merged")
    assert {path.name for path in tmp_path.iterdir()} == {"base", "adapter"}


def test_a_base_quantised_on_reading(trained, tmp_path):
    adapter = trained(kind="nf4-dq")
    with pytest.raises(ValueError, match="the base is quantised as nf4-dq"):
        merge(adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    assert merge(adapter, tmp_path / "onto_the_original", base=tmp_path / "base")["merged"] <= 1e-4
    assert merge(adapter, tmp_path / "as_trained", dequantize=True)["merged"] <= 1e-4
    trained_on = probe(load_adapter(adapter))
    for folder, same in (("as_trained", True), ("onto_the_original", False)):
        merged = load(tmp_path / folder)
        assert recorded_kind(merged.language_model.config) is None
        difference = max(float((a - b).abs().max()) for a, b in zip(probe(merged), trained_on, strict=True))
        assert (difference < 1e-4) == same


def test_a_base_stored_quantised(trained, tmp_path):
    adapter = trained(stored="nf4")
    for base in (None, tmp_path / "base"):
        with pytest.raises(ValueError, match="the base is quantised as nf4"):
            merge(adapter, tmp_path / "merged", base=base)
    assert merge(adapter, tmp_path / "merged", dequantize=True)["merged"] <= 1e-4
    for ours, theirs in zip(probe(load(tmp_path / "merged")), probe(load_adapter(adapter)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_an_existing_folder_is_refused(trained, tmp_path):
    with pytest.raises(ValueError, match="choose another folder"):
        merge(trained(), tmp_path / "base")


@pytest.mark.slow
def test_from_training_to_a_merged_checkpoint(command, tmp_path):
    rank = ["--model.lora.rank=4", "--model.lora.alpha=8", "--model.language_model_lr=1e-2"]
    done = command("fit", "--config", "llava.yaml", "--config", "lora.yaml", *rank, tiny=True)
    run = tmp_path / "runs" / "llava" / "version_0"
    assert "adapter: runs/llava/version_0/adapter" in done.stdout
    assert "base: runs/llava/version_0/base" in done.stdout
    assert not (run / "checkpoint").exists()
    for noise in ("Warning", "Tip", "GPU available"):
        assert noise not in done.stdout + done.stderr

    words = [sys.executable, "-m", "recipes.merge", str(run / "adapter"), str(tmp_path / "merged")]
    merged = subprocess.run(words, capture_output=True, text=True, check=False)
    assert merged.returncode == 0, merged.stderr
    assert "differ by" in merged.stdout
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "choose another folder" in again.stderr

    # Adapters trained on a checkpoint refer to it as their base; only they and the connector are written.
    command("fit", "--config", "llava.yaml", "--config", "lora.yaml", "--checkpoint", run / "base", *rank, tiny=True)
    second = tmp_path / "runs" / "llava" / "version_1"
    assert not (second / "base").exists()
    load_adapter(second / "adapter")
    # Adapters are trained on as they are; their base stays the base.
    again = ["fit", "--config", "llava.yaml", "--config", "lora.yaml", "--checkpoint", run / "adapter"]
    assert "train them on with --model.lora=null" in command(*again, tiny=True, code=1).stderr
    command(*again, "--model.lora=null", "--model.language_model_lr=1e-2", tiny=True)
    third = tmp_path / "runs" / "llava" / "version_2"
    before, after = (load_file(folder / "adapter" / "adapter.safetensors") for folder in (run, third))
    assert before.keys() == after.keys()
    assert all((before[name] != after[name]).any() for name in before)
    assert read_manifest(third / "adapter")["base"]["folder"] == str(run / "base")
    load_adapter(third / "adapter")

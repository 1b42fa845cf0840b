"""Folders of adapters as LLaVA's own code and peft write them, and of their bases, with the real names."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

TEXT = {
    "vocab_size": 272,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 256,
}
VISION = {
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 1,
    "image_size": 28,
    "patch_size": 7,
}
LLAVA = {
    **TEXT,
    "model_type": "llava",
    "image_aspect_ratio": "pad",
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]
SHAPES = {"0.weight": (64, 64), "0.bias": (64,), "2.weight": (64, 64), "2.bias": (64,)}


def noisy(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        weight.data = 0.2 * torch.randn(weight.shape, generator=generator)
    return module


def projector(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"model.mm_projector.{name}": 0.2 * torch.randn(shape, generator=generator) for name, shape in SHAPES.items()
    }


def language_model():
    from transformers import LlamaConfig, LlamaForCausalLM

    return noisy(LlamaForCausalLM(LlamaConfig(**TEXT)), 1)


@pytest.fixture
def write_model(tmp_path):
    """A folder of a language model; with a projector, of a LLaVA in the layout of its own code."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    noisy(CLIPVisionModel(CLIPVisionConfig(**VISION)), 2).save_pretrained(tmp_path / "tower")

    from foveal.models import byte_tokenizer

    def write(name, model, projector=None, **changes):
        folder = tmp_path / name
        model.save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        if projector is not None:
            weights = load_file(folder / "model.safetensors")
            save_file({**weights, **projector}, folder / "model.safetensors", metadata={"format": "pt"})
            (folder / "config.json").write_text(json.dumps(config(tmp_path, **changes)))
        return folder

    return write


def config(tmp_path, **changes):
    return LLAVA | {"mm_vision_tower": str(tmp_path / "tower")} | changes


@pytest.fixture
def trained(tmp_path, write_model):
    """Adapters as peft writes them, and the LLaVA that they and the projector become, merged by peft."""
    from peft import LoraConfig, get_peft_model

    def trained(name="lora", *, by_llava=True, pickled=False, targets=ALL, more=None, **settings):
        settings = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.05, "target_modules": targets, **settings}
        adapted = get_peft_model(language_model(), LoraConfig(**settings, bias="none", task_type="CAUSAL_LM"))
        generator = torch.Generator().manual_seed(3)
        for each, weight in adapted.named_parameters():
            if ".lora_" in each:
                weight.data = 0.2 * torch.randn(weight.shape, generator=generator)
        folder = tmp_path / name
        adapted.save_pretrained(folder, safe_serialization=True)
        assert (folder / "adapter_model.safetensors").is_file()
        if pickled:
            torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
            (folder / "adapter_model.safetensors").unlink()
        if by_llava:
            in_full = projector(5) | (more or {})
            torch.save(
                {f"base_model.model.{each}": tensor for each, tensor in in_full.items()},
                folder / "non_lora_trainables.bin",
            )
            (folder / "config.json").write_text(json.dumps(config(tmp_path)))
        return folder, write_model(f"{name}_merged", adapted.merge_and_unload(), projector(5 if by_llava else 4))

    return trained


@pytest.fixture
def run_convert(monkeypatch, capsys):
    """Runs `convert`; returns its output, or the message with which it stopped."""
    from recipes import convert

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, arguments)])
        monkeypatch.setattr("recipes.commands.convert.calm", lambda: None)
        try:
            convert.main()
        except SystemExit as stopped:
            return f"stopped: {stopped.code} {capsys.readouterr().err}"
        return capsys.readouterr().out

    return run

"""Towers read from folders written by transformers give the same outputs as transformers."""

import json

import pytest
import torch
import transformers
from packages.models.tests.intern_vit_names import as_the_authors_name
from safetensors.torch import load_file, save_file

from foveal.core import load_exact
from foveal.encoders import MoonViT, convnext, dinov2_vit, intern_vit, moonvit_weights, siglip_vit

NATIVE, OTHER = (2, 3, 28, 28), (2, 3, 42, 56)


def close(ours, reference):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


@pytest.fixture
def saved(tmp_path):
    def save(kind, config, **sizes):
        torch.manual_seed(0)
        model = getattr(transformers, kind)(getattr(transformers, config)(**sizes)).eval()
        for weight in model.parameters():
            weight.data.add_(0.05 * torch.randn_like(weight))
        model.save_pretrained(tmp_path)
        return model, str(tmp_path)

    return save


VIT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 28, "patch_size": 7}


@torch.no_grad()
@pytest.mark.parametrize("activation", ["gelu_pytorch_tanh", "gelu"])
def test_siglip(saved, activation):
    model, folder = saved("SiglipVisionModel", "SiglipVisionConfig", **VIT, intermediate_size=48, hidden_act=activation)
    views, others = torch.randn(NATIVE), torch.randn(OTHER)
    states = model(views, output_hidden_states=True).hidden_states
    for ours, layer in zip(siglip_vit(folder, layers=(0, -2, -1)).eval()(views), (0, -2, -1), strict=True):
        close(ours, states[layer])
    (last,) = siglip_vit(folder, layers=(-1,), use_final_norm=True).eval()(views)
    close(last, model(views).last_hidden_state)
    states = model(others, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states
    close(siglip_vit(folder, layers=(-2,)).eval()(others)[0], states[-2])
    other = {"gelu": "gelu_tanh", "gelu_pytorch_tanh": "gelu"}[activation]
    changed = siglip_vit(folder, layers=(-1,), use_final_norm=True, activation=other).eval()(views)[0]
    assert not torch.equal(changed, last)


@torch.no_grad()
@pytest.mark.parametrize("registers", [0, 3])
@pytest.mark.parametrize("swiglu", [False, True])
def test_dinov2(saved, registers, swiglu):
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    sizes = VIT | {"use_swiglu_ffn": swiglu} | ({"num_register_tokens": registers} if registers else {})
    model, folder = saved(f"{kind}Model", f"{kind}Config", **sizes)
    encoder = dinov2_vit(folder, layers=(-1,)).eval()
    for shape in (NATIVE, OTHER):
        views = torch.randn(shape)
        close(encoder(views)[0], model(views, output_hidden_states=True).hidden_states[-1][:, 1 + registers :])


PLAIN = {"attention_bias": True}
LARGE = {"norm_type": "rms_norm", "use_qk_norm": True}


def as_the_authors_write(folder, **sizes):
    """Rewrite a tower's folder with the names in InternVL's own repository."""
    tensors = load_file(folder / "model.safetensors")
    save_file(as_the_authors_name(tensors), folder / "model.safetensors")
    renamed = {"attention_bias": "qkv_bias", "use_qk_norm": "qk_normalization"}
    stated = {renamed.get(name, name): value for name, value in sizes.items()}
    (folder / "config.json").write_text(json.dumps({"model_type": "intern_vit_6b", **stated}))


@torch.no_grad()
@pytest.mark.parametrize("layout", ["transformers", "authors"])
@pytest.mark.parametrize("kind", [PLAIN, LARGE], ids=["300M", "6B"])
def test_intern_vit(saved, tmp_path, kind, layout):
    sizes = VIT | {"intermediate_size": 48, "norm_type": "layer_norm"} | kind
    model, folder = saved("InternVLVisionModel", "InternVLVisionConfig", **sizes)
    if layout == "authors":
        as_the_authors_write(tmp_path, **{"qk_normalization": False} | sizes)
    encoder = intern_vit(folder, layers=(1, -1)).eval()
    views, others = torch.randn(NATIVE), torch.randn(OTHER)
    states = model(views, output_hidden_states=True).hidden_states
    for ours, layer in zip(encoder(views), (1, -1), strict=True):
        close(ours, states[layer][:, 1:])
    close(encoder(others)[1], model(others).last_hidden_state[:, 1:])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act of the image tower is 'relu', known: gelu"),
        ({"norm_type": "batch_norm"}, "norm_type of the image tower is 'batch_norm', known: layer_norm, rms_norm"),
        ({"use_absolute_position_embeddings": False}, "use_absolute_position_embeddings of the image tower is False"),
        ({"image_size": [28, 35]}, r"image_size of the image tower is \[28, 35\], only squares are known"),
        (LARGE | {"layer_norm_eps": 1e-5}, "layer_norm_eps of the image tower is 1e-05, known: 1e-06"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_intern_vit_that_cannot_be_built(tmp_path, setting, message):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "internvl_vision", **VIT, **setting}))
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        intern_vit(str(tmp_path))


@torch.no_grad()
def test_convnext(saved):
    model, folder = saved("ConvNextModel", "ConvNextConfig", hidden_sizes=[8, 16, 24, 32], depths=[1, 2, 1, 1])
    views = torch.randn(2, 3, 64, 96)
    close(convnext(folder).eval()(views)[0], model(views).last_hidden_state.flatten(2).mT)


KIMI = {
    "norm1.": "norm0.",
    "norm2.": "norm1.",
    "attn.proj.": "wo.",
    "mlp.fc1.": "mlp.fc0.",
    "mlp.fc2.": "mlp.fc1.",
    "final_layernorm.": "encoder.final_layernorm.",
    "position_embeddings": "weight",
}
"""Parts of names in transformers' Kimi-K2.5 -> those of MoonViT's authors; a name has at most one of them."""


def of_authors(name):
    """The authors' name of a weight of Kimi-K2.5's vision tower."""
    layers, rest = ("encoder.blocks.", name.removeprefix("layers.")) if name.startswith("layers.") else ("", name)
    part = next((part for part in KIMI if part in rest), "")
    return layers + (rest.replace(part, KIMI[part]) if part else rest)


@torch.no_grad()
def test_moonvit():
    """Beside the vision tower of Kimi-K2.5, which for one picture is MoonViT with the channels of heads reordered."""
    from transformers.models.kimi_k25.modeling_kimi_k25 import Kimi_K25VisionConfig, Kimi_K25VisionModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    reference = Kimi_K25VisionModel(Kimi_K25VisionConfig(**sizes, patch_size=4, pos_emb_height=4, pos_emb_width=4))
    for weight in reference.parameters():
        weight.normal_(std=0.2)
    # Channels that turn together are neighbours in the authors' weights, and half a head apart in transformers'.
    place = torch.arange(32).view(2, 2, 8).transpose(1, 2).flatten()
    theirs, named = reference.state_dict(), {}
    for name, value in theirs.items():
        if "q_proj" in name:
            query, key, values = (theirs[name.replace("q_proj", f"{part}_proj")] for part in "qkv")
            joined = torch.cat([query[place], key[place], values])
            named[of_authors(name).replace("attn.q_proj", "wqkv")] = joined
        elif "_proj" not in name:
            named[of_authors(name)] = value
    encoder = MoonViT(32, 2, 2, 48, 4, 16).eval()
    load_exact(encoder, moonvit_weights(named, encoder, source="transformers"), source="transformers")
    for height, width in ((16, 16), (24, 40)):
        views, grid = torch.randn(2, 3, height, width), (1, height // 4, width // 4)
        patches = views.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        expected = reference(patches, grid_thw=torch.tensor([grid, grid])).last_hidden_state
        close(encoder(views)[0].flatten(0, 1), expected)

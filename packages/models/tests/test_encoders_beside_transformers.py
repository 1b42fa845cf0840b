"""Towers read from folders written by transformers give the same outputs as transformers."""

import pytest
import torch
import transformers

from foveal.encoders import convnext, dinov2_vit, siglip_vit

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


@torch.no_grad()
def test_convnext(saved):
    model, folder = saved("ConvNextModel", "ConvNextConfig", hidden_sizes=[8, 16, 24, 32], depths=[1, 2, 1, 1])
    views = torch.randn(2, 3, 64, 96)
    close(convnext(folder).eval()(views)[0], model(views).last_hidden_state.flatten(2).mT)

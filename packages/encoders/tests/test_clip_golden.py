"""CLIP's tower against reference outputs: all states, any grid, all names."""

import pytest
import torch

from foveal.core import load_exact
from foveal.encoders import VisionTransformer, clip_weights


def tower(sizes, **options):
    return VisionTransformer(
        sizes["hidden_size"],
        sizes["num_hidden_layers"],
        sizes["num_attention_heads"],
        sizes["intermediate_size"],
        sizes["patch_size"],
        sizes["image_size"],
        **options,
    )


def loaded(sizes, tensors, **options):
    model = tower(sizes, **options)
    load_exact(model, clip_weights(tensors, model, source="reference"), source="reference")
    return model.eval()


def close(ours, reference):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


def test_openai_names_every_state(golden):
    reference = golden("encoders/clip_openai_naming")
    width = reference.tensors["w.visual.class_embedding"].shape[0]
    weights = golden.strip(reference.tensors, "w.")
    depth = 1 + max(int(name.split(".")[3]) for name in weights if "resblocks" in name)
    assert depth == 3
    sizes = dict(hidden_size=width, num_hidden_layers=depth, num_attention_heads=reference.meta["config"]["heads"] if "config" in reference.meta else 2, intermediate_size=32, patch_size=7, image_size=28)
    model = loaded(sizes, weights, layers=(0, 1, 2, 3), keep_class_token=True)
    with torch.no_grad():
        states = model(reference.tensors["pixel_values"])
    for number, state in enumerate(states):
        close(state, reference.tensors[f"hidden_states.{number}"])


@pytest.fixture
def slices(golden):
    reference = golden("uhd/vit_slices")
    return reference, golden.strip(reference.tensors, "w.")

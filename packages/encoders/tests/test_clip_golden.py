"""CLIP's tower compared with reference outputs: every state, any grid, published names."""

import pytest
import torch

from foveal.core import Size, load_exact
from foveal.encoders import VisionTransformer, clip_weights


def loaded(sizes, tensors, **options):
    model = VisionTransformer(*sizes, **options)
    load_exact(model, clip_weights(tensors, model, source="reference"), source="reference")
    return model.eval()


def close(ours, reference):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


@torch.no_grad()
def test_openai_names_and_every_state(golden):
    reference = golden("encoders/clip_openai_naming")
    meta = reference.meta
    sizes = [meta[name] for name in ("width", "layers", "heads", "intermediate_size", "patch_size", "image_size")]
    model = loaded(sizes, golden.strip(reference.tensors, "w."), layers=(0, 1, 2, 3), keep_class_token=True)
    for number, state in enumerate(model(reference.tensors["pixel_values"])):
        close(state, reference.tensors[f"hidden_states.{number}"])


@pytest.fixture
def slices(golden):
    reference = golden("uhd/vit_slices")
    config = reference.meta["config"]
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "patch_size", "image_size")
    return reference, [config[name] for name in names], golden.strip(reference.tensors, "w.")


@torch.no_grad()
def test_any_grid_one_by_one_and_as_a_ragged_list(slices):
    reference, sizes, weights = slices
    model = loaded(sizes, weights)
    views = [reference.tensors[f"{case['name']}.pixels"][0] for case in reference.meta["cases"]]
    ragged = model.encode_views(views)
    for case, view, (of_list,) in zip(reference.meta["cases"], views, ragged, strict=True):
        assert model.grid(Size.of_view(view)) == (case["h"], case["w"])
        expected = reference.tensors[f"{case['name']}.selected"][0]
        close(model(view[None])[0][0], expected)
        close(of_list, expected)


@torch.no_grad()
def test_every_state_of_a_flat_view(slices):
    reference, sizes, weights = slices
    model = loaded(sizes, weights, layers=(4, 0, 2, 1, 3), keep_class_token=True)
    for number, state in zip((4, 0, 2, 1, 3), model(reference.tensors["c1.pixels"]), strict=True):
        close(state, reference.tensors[f"c1.hidden_states.{number}"])


def test_positions_on_other_grids(golden):
    reference = golden("uhd/pos_interp")
    model = VisionTransformer(reference.meta["dim"], 1, 1, 8, 7, 7 * reference.meta["square"])
    model.positions.data = reference.tensors["table"]
    for name, expected in reference.tensors.items():
        if name != "table":
            rows, columns = map(int, name.split("x"))
            close(model.positions_of((rows, columns)).detach(), expected)


@torch.no_grad()
@pytest.mark.parametrize(("file", "keep"), [("tiny_llava", False), ("tiny_llava_cls_patch", True)])
def test_features_that_llava_selects(golden, file, keep):
    weights = golden("llava/tiny_llava_weights").tensors
    case = "cls_patch" if keep else "pair"
    tensors = golden(f"llava/{file}_io").tensors
    prefix = "model.vision_tower."
    tower = {name: value for name, value in weights.items() if name.startswith(prefix)}
    model = loaded((32, 4, 4, 64, 7, 28), tower, keep_class_token=keep)
    close(model(tensors[f"{case}.images"])[0], tensors[f"{case}.selected_features"])

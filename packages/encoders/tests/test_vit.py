"""The promises of the vision transformer, tested without reference data."""

import json
import sys
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.nn import functional as F

from foveal.core import Lengths, Size, attention, build, describe
from foveal.encoders import SamViTDet, VisionTransformer, clip_vit, clip_vit_large_336, clip_weights
from foveal.encoders.clip import OPENAI, TRANSFORMERS


def tiny(**options):
    return VisionTransformer(32, 3, 4, 48, 4, 16, **options).eval()


def test_published_size():
    with torch.device("meta"):
        model = clip_vit_large_336(layers=(-1,))
        without_last = clip_vit_large_336()
    count = sum(weight.numel() for weight in model.parameters())
    assert count + 2 * 1024 == 303_507_456  # the published count includes a final norm, which no requested layer needs
    assert count - sum(weight.numel() for weight in without_last.parameters()) == 12_596_224
    assert without_last.grid(Size(672, 336)) == (24, 48)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4))
def test_ragged_is_one_by_one(grids):
    model = tiny(layers=(1, -1))
    views = [torch.randn(3, 4 * rows, 4 * columns) for rows, columns in grids]
    with torch.no_grad():
        for view, maps in zip(views, model.encode_views(views), strict=True):
            for ours, alone in zip(maps, model(view[None]), strict=True):
                torch.testing.assert_close(ours, alone[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"layers": (1, 0, -1), "keep_class_token": True}])
def test_packed_is_grouped(monkeypatch, options):
    model = tiny(**options)
    views = [torch.randn(3, 8, 16), torch.randn(3, 16, 8), torch.randn(3, 8, 16)]
    with torch.no_grad():
        grouped = model.encode_views(views)
        monkeypatch.setattr("foveal.encoders.vit.runs_packed", lambda *_: True)
        packed = model.encode_views(views)
    for maps, reference in zip(packed, grouped, strict=True):
        torch.testing.assert_close(maps, reference, atol=1e-5, rtol=0)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_blocks_share_the_lengths(monkeypatch, checkpointing):
    """What a kernel derives from them is then computed once per batch."""
    seen = []

    def recorded(*arguments, lengths, **options):
        seen.append(lengths)
        return attention(*arguments, lengths=lengths, **options)

    monkeypatch.setattr("foveal.encoders.vit.runs_packed", lambda *_: True)
    monkeypatch.setattr("foveal.encoders.block.attention", recorded)
    maps = tiny(checkpointing=checkpointing, layers=(-1,)).train().encode_views([torch.randn(3, 8, 16)] * 2)
    sum(each.sum() for of_view in maps for each in of_view).backward()
    assert len(seen) == 3 * (1 + checkpointing)
    assert isinstance(seen[0], Lengths)
    assert all(lengths is seen[0] for lengths in seen)


def test_height_and_width_are_not_confused():
    model = tiny()
    view = torch.randn(3, 8, 12)
    with torch.no_grad():
        upright = model(view[None])[0]
        turned = model(view.transpose(1, 2)[None])[0]
    assert not torch.allclose(upright, turned, atol=1e-3)
    assert model.grid(Size(12, 8)) == (2, 3)


def test_no_block_behind_the_deepest_layer_is_built():
    assert len(tiny(layers=(1, -3)).blocks) == 1
    assert len(tiny(layers=(0,)).blocks) == 0


def test_checkpointing_changes_no_gradient():
    views = torch.randn(2, 3, 16, 16)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(1)
        model = tiny(checkpointing=checkpointing).train()
        model(views)[0].square().mean().backward()
        gradients.append([weight.grad for weight in model.parameters()])
    for ours, reference in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, reference)


def test_gradient_reaches_the_position_table_through_another_grid():
    model = tiny()
    model(torch.randn(1, 3, 8, 24))[0].sum().backward()
    assert model.positions.grad.abs().sum() > 0


def test_positions_are_interpolated_in_float32():
    model = tiny().bfloat16()
    precise = tiny()
    precise.load_state_dict({name: value.float() for name, value in model.state_dict().items()})
    assert torch.equal(model.positions_of((3, 7)), precise.positions_of((3, 7)).bfloat16())


def ramps(rows, columns, width):
    """A table whose channel 0 encodes the row and whose channel 1 encodes the column, and the encoded values."""
    down, across = torch.randn(rows), torch.randn(columns)
    table = torch.zeros(rows, columns, width)
    table[..., 0], table[..., 1] = down[:, None], across
    return table, down, across


def along(values, places, *, antialias):
    """Values along one axis, resampled by torch to another number of positions."""
    return F.interpolate(values[None, None, None], size=(1, places), mode="bicubic", antialias=antialias)[0, 0, 0]


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("grid", [(3, 7), (7, 3), (2, 6)])
def test_positions_of_an_oblong_grid_lie_row_by_row(grid, antialias):
    table, down, across = ramps(4, 4, 32)
    sides = {"window": 3, "global_blocks": (1,), "neck_width": 8, "downsample": ()}
    clip = tiny(antialias=antialias)
    sam = SamViTDet(32, 2, 2, 4, 16, antialias=antialias, **sides)
    with torch.no_grad():
        clip.positions[1:] = table.flatten(0, 1)
        sam.positions.copy_(table)
        found = clip.positions_of(grid)
        assert torch.equal(found[0], clip.positions[0])
        for plane in (found[1:].unflatten(0, grid), sam.positions_of(grid)):
            for channel, (values, places) in enumerate(((down, grid[0]), (across, grid[1]))):
                line = along(values, places, antialias=antialias)
                expected = line[:, None].expand(grid) if channel == 0 else line.expand(grid)
                torch.testing.assert_close(plane[..., channel], expected, atol=1e-5, rtol=0)


def published(model, table, prefix):
    names = table.write(model.state_dict())
    return {prefix + name: value.contiguous() for name, value in names.items()}


@pytest.mark.parametrize(
    ("table", "prefix"),
    [
        (TRANSFORMERS, ""),
        (TRANSFORMERS, "vision_model."),
        (TRANSFORMERS, "model.vision_tower.vision_tower.vision_model."),
        (TRANSFORMERS, "vision_tower.vision_tower.vision_model."),
        (TRANSFORMERS, "model.vision_tower."),
        (OPENAI, ""),
        (OPENAI, "visual."),
    ],
)
def test_weights_are_read_under_every_published_name(table, prefix):
    model = tiny(layers=(-1,))
    tensors = published(model, table, prefix) | ({"logit_scale": torch.zeros(())} if prefix else {})
    read = clip_weights(tensors, model, source="there")
    assert all(torch.equal(read[name], value) for name, value in model.state_dict().items())


def test_a_local_folder(tmp_path):
    model = tiny(layers=(-1,))
    config = {
        "vision_config": {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "patch_size": 4,
            "image_size": 16,
        }
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    text_tower = {"text_model.final.weight": torch.zeros(2)}
    save_file(published(model, TRANSFORMERS, "vision_model.") | text_tower, tmp_path / "model.safetensors")
    loaded = clip_vit(str(tmp_path), layers=(-2,))
    views = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        states = VisionTransformer.forward(loaded, views)[0]
        whole = tiny(layers=(-2,))
        whole.load_state_dict({name: model.state_dict()[name] for name in whole.state_dict()})
        torch.testing.assert_close(states, whole(views)[0])
    save_file(published(model, TRANSFORMERS, "vision_model.") | {"odd": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"unknown name, among them \['odd'\]"):
        clip_vit(str(tmp_path))
    save_file({"odd": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="no CLIP image tower"):
        clip_vit(str(tmp_path))


def test_described_and_built_again():
    model = tiny(layers=(1, 2), activation="gelu")
    again = build(describe(model))
    assert describe(again) == describe(model)
    assert describe(model)["class_path"] == "foveal.encoders.VisionTransformer"


def test_faults():
    with pytest.raises(ValueError, match="18x16 pixels cannot be cut into patches of 4"):
        tiny()(torch.zeros(1, 3, 16, 18))
    with pytest.raises(ValueError, match=r"layers \(5,\): .* from -4 to 3"):
        tiny(layers=(5,))
    with pytest.raises(ValueError, match="not a multiple of heads"):
        VisionTransformer(30, 1, 4, 8, 4, 16)
    with pytest.raises(ValueError, match="image_size 4 is smaller than patch_size 5"):
        VisionTransformer(32, 1, 4, 8, 5, 4)
    with pytest.raises(ValueError, match="unknown activation 'gelu_new': quick_gelu or gelu"):
        tiny(activation="gelu_new")
    for shape in ((3, 16, 16), (1, 4, 16, 16)):
        with pytest.raises(ValueError, match=r"views must be \[views, 3, height, width\].* got \("):
            tiny()(torch.zeros(shape))


def test_names_that_are_no_folder(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder \./models/clip, and a hub name looks like"):
        clip_vit("./models/clip")
    hub = ModuleType("huggingface_hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    hub.snapshot_download = lambda name, allow_patterns: tmp_path
    with pytest.raises(ValueError, match="openai/clip publishes no safetensors"):
        clip_vit("openai/clip")

    def offline(name, allow_patterns):
        raise FileNotFoundError("outgoing traffic has been disabled")

    hub.snapshot_download = offline
    with pytest.raises(
        ValueError, match=r"openai/clip is not a folder here, .* traffic has been disabled \(check the name"
    ):
        clip_vit("openai/clip")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'foveal-encoders\[hub\]'"):
        clip_vit("openai/clip")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "has no config.json"),
        ("{", r"config\.json is damaged"),
        ("[]", r"config\.json is damaged"),
        ('{"model_type": "siglip_vision_model"}', "describes a siglip_vision_model, not a CLIP"),
        ('{"hidden_act": "relu"}', "unknown activation 'relu'"),
    ],
)
def test_folders_that_hold_no_clip(tmp_path, config, message):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=message):
        clip_vit(str(tmp_path))

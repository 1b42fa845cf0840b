"""The promises of Qwen3-VL's tower, tested without reference data."""

import pytest
import torch

from foveal.core import Grid, Size
from foveal.encoders import Qwen3VisionTransformer
from foveal.encoders.rotary import grid_rotation


def tiny(**options):
    torch.manual_seed(0)
    return Qwen3VisionTransformer(16, 3, 2, 24, 4, 16, **options).eval()


@torch.no_grad()
def test_packed_is_grouped(monkeypatch):
    model = tiny(layers=(-1, 1))
    views = [torch.randn(3, 8, 16), torch.randn(3, 16, 8), torch.randn(3, 8, 16)]
    grouped = model.encode_views(views)
    monkeypatch.setattr("foveal.encoders.qwen3_vl.runs_packed", lambda *_: True)
    for maps, reference in zip(model.encode_views(views), grouped, strict=True):
        torch.testing.assert_close(maps, reference, atol=1e-5, rtol=0)


def test_attention_depends_on_distances_alone():
    """The product of two rotated channels is the same wherever the two patches are, if they are as far apart."""
    cosines, sines = grid_rotation(Grid(5, 6), 8, 100.0, torch.device("cpu"))
    turned = torch.polar(torch.ones_like(cosines), torch.atan2(sines, cosines)).unflatten(0, (5, 6))
    for rows, columns in ((1, 0), (0, 2), (2, 3)):
        between = turned[rows:, columns:] * turned[: 5 - rows, : 6 - columns].conj()
        torch.testing.assert_close(between, between[:1, :1].expand_as(between))
    assert not torch.allclose(turned[1, 0], turned[0, 1])


def test_height_and_width_are_not_confused():
    model, view = tiny(), torch.randn(3, 8, 12)
    with torch.no_grad():
        upright, turned = model(view[None])[0], model(view.mT[None])[0]
    assert model.grids(Size(12, 8)) == (Grid(2, 3),)
    assert not torch.allclose(upright.unflatten(1, (2, 3)).transpose(1, 2), turned.unflatten(1, (3, 2)), atol=1e-3)


def test_checkpointing_changes_no_gradient():
    views, found = torch.randn(2, 3, 16, 12), []
    for checkpointing in (False, True):
        model = tiny(checkpointing=checkpointing).train()
        model(views)[0].square().sum().backward()
        found.append([weight.grad for weight in model.parameters()])
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Qwen3VisionTransformer(12, 1, 2, 24, 4, 16), "width 12 is not a multiple of 4 x 2 heads"),
        (lambda: Qwen3VisionTransformer(16, 1, 2, 24, 4, 18), "image_size 18 must be a multiple of patch_size 4"),
        (lambda: tiny(frames=0), "frames 0 at least 1"),
        (lambda: tiny(activation="relu"), "unknown activation 'relu'"),
        (lambda: tiny(layers=(4,)), "name at least one, each from -4 to 3"),
    ],
)
def test_settings_that_cannot_be_built_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()

"""The inverse semantic pyramid: reference outputs, and what must hold on any grid."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from foveal.encoders import InverseSemanticPyramid, ParallelEncoder, VisionTransformer, semantic_pyramid, vdim_weights
from foveal.encoders.bilateral import (
    RADIUS,
    JointBilateralUpsampler,
    _Likeness,
    _neighbours,
    _reflected,
    _WeightedNeighbours,
)


def tower(**changes):
    return VisionTransformer(8, 2, 2, 12, 4, 16, **({"layers": (-1,)} | changes))


@pytest.fixture
def pyramid():
    return InverseSemanticPyramid(tower(), scales=(1, 2, 4)).eval()


@pytest.fixture
def reference(golden):
    reference = golden("uhd/vdim")
    weights = {name[2:]: value for name, value in reference.tensors.items() if name.startswith("w.")}
    return reference.meta, reference.tensors, weights


def close(ours, expected):
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_reference(reference):
    meta, tensors, weights = reference
    model = InverseSemanticPyramid(VisionTransformer(meta["dim"], 1, 1, 8, 14, 28, layers=(-1,)), scales=(1, 2, 4))
    missing, unexpected = model.eval().load_state_dict(vdim_weights(weights, source="reference"), strict=False)
    assert unexpected == []
    assert all(name.startswith("tower.") for name in missing)
    levels = model.enlarged(tensors["features"].flatten(2).mT, tensors["image"])
    for ours, name in zip(levels, ("features", "level2", "level4"), strict=True):
        close(ours, tensors[name].flatten(2).mT)


@torch.no_grad()
@pytest.mark.parametrize("size", [(2, 2), (2, 9), (5, 3), (12, 7)])
def test_neighbours_are_those_of_a_reflected_map(size):
    plane = torch.randn(2, 3, *size)
    found = torch.stack(list(_neighbours(_reflected(plane))), dim=2)
    if min(size) > RADIUS:  # the narrowest map that torch reflects
        padded = F.pad(plane, [RADIUS] * 4, mode="reflect")
        close(found.flatten(1, 2).flatten(2), F.unfold(padded, 2 * RADIUS + 1))
    assert found.shape == (2, 3, 49, *size)
    close(found[:, :, 24], plane)


def test_sums_over_neighbours_and_their_gradients():
    """Beside all neighbours at once, and beside differences."""
    padded, weights, keys = (
        torch.randn(2, *shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 8, 9), (49, 2, 3), (3, 2, 3))
    )
    every = torch.stack(list(_neighbours(padded)), dim=2)
    close(_WeightedNeighbours.apply(padded, weights), (every * weights[:, None]).sum(dim=2))
    close(_Likeness.apply(padded, keys), (every * keys[:, :, None]).sum(dim=1))
    assert torch.autograd.gradcheck(_WeightedNeighbours.apply, (padded, weights))
    assert torch.autograd.gradcheck(_WeightedNeighbours.apply, (padded, weights.detach()))
    assert torch.autograd.gradcheck(_Likeness.apply, (padded, keys))


@torch.no_grad()
def test_a_constant_map_stays_constant():
    """Without the correction the weights of all neighbours add up to 1."""
    step = JointBilateralUpsampler().eval()
    for weight in step.correction[-1].parameters():
        weight.zero_()
    picture = torch.randn(1, 3, 24, 20)
    close(step(torch.full((1, 2, 6, 5), 3.0), picture), torch.full((1, 2, 12, 10), 3.0))
    close(step.weights(torch.randn(1, 3, 12, 10)).sum(dim=1), torch.ones(1, 12, 10))


@torch.no_grad()
def test_edges_of_the_picture_become_edges_of_the_map():
    """With keys that tell both halves of the picture apart, no cell takes anything from the other half."""
    step = JointBilateralUpsampler().eval()
    for weight in (*step.colours.parameters(), *step.correction.parameters()):
        weight.zero_()
    step.colours[0].weight[:2, 0, 0, 0] = torch.tensor([9.0, -9.0])
    step.colours[3].weight[:, :, 0, 0] = torch.eye(32)
    picture = torch.ones(1, 3, 32, 32)
    picture[..., 16:] = -1
    features = torch.zeros(1, 1, 8, 8)
    features[..., 4:] = 1
    blind, guided = step(features, torch.zeros_like(picture)), step(features, picture)
    assert guided[..., :8].amax() < 0.05
    assert guided[..., 8:].amin() > 0.95
    assert blind[..., 8].amax() < 0.7


@torch.no_grad()
def test_fewer_scales_are_a_part_of_all(pyramid):
    views = torch.randn(2, 3, 16, 8)
    every = pyramid(views)
    for scales in ((1, 4), (4,), (2, 4)):
        some = InverseSemanticPyramid(pyramid.tower, scales=scales).eval()
        some.load_state_dict(pyramid.state_dict())
        for scale, features in zip(scales, some(views), strict=True):
            assert torch.equal(features, every[(1, 2, 4).index(scale)])


@torch.no_grad()
def test_half_precision_is_near(pyramid):
    views = torch.randn(1, 3, 16, 24)
    exact = pyramid(views)
    half = pyramid.bfloat16()(views.bfloat16())
    for ours, expected in zip(half, exact, strict=True):
        assert ours.dtype == torch.bfloat16
        assert (ours.float() - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("prefix", ["", "upsampler.", "model.mm_projector.upsampler.upsampler."])
def test_published_files(reference, tmp_path, prefix):
    meta, _, weights = reference
    own = VisionTransformer(meta["dim"], 1, 1, 8, 14, 28, layers=(-1,))
    beside = {} if prefix == "" else {"model.embed_tokens.weight": torch.zeros(2, 2)}
    save_file({prefix + name: value for name, value in weights.items()} | beside, tmp_path / "vdim.safetensors")
    model = semantic_pyramid(own, tmp_path / "vdim.safetensors")
    assert model.scales == (1, 4)
    close(model.steps[1].correction[0].weight, weights["up2.fixup_proj.0.weight"])
    with pytest.raises(ValueError, match="tensors 10 unexpected"):
        semantic_pyramid(own, tmp_path / "vdim.safetensors", scales=(1, 2))
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no weights of VDIM"):
        semantic_pyramid(own, tmp_path / "other.safetensors")


@pytest.mark.parametrize("scales", [(), (1,), (4, 1), (2, 2), (1, 3), (8,)])
def test_scales_that_make_no_pyramid_are_refused(scales):
    with pytest.raises(ValueError, match="in ascending order, and one above 1"):
        InverseSemanticPyramid(tower(), scales=scales)


@pytest.mark.parametrize(
    "make", [lambda: tower(layers=(0, 1)), lambda: tower(keep_class_token=True), lambda: ParallelEncoder([tower()] * 2)]
)
def test_towers_with_several_maps_are_refused(make):
    with pytest.raises(ValueError, match="one view and return one layer"):
        InverseSemanticPyramid(make())

"""Hierarchical window attention: reference outputs, and what it adds to the windows of one map."""

import pytest
import torch

from foveal.connectors import HiwinAttention
from foveal.connectors.hiwin import hiwin_map
from foveal.core import load_exact


def close(ours, reference):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=0)


@pytest.fixture
def reference(golden):
    return golden("uhd/hiwin")


def connector_of(reference, scales):
    meta, weights = reference.meta, {}
    connector = HiwinAttention(
        (meta["kv_dim"],) * len(scales), meta["embed_dim"], queries=meta["grid_size"] ** 2, heads=meta["num_heads"]
    )
    weights = {name[2:]: value for name, value in reference.tensors.items() if name.startswith("w.")}
    load_exact(connector, hiwin_map(scales).read(weights), source="reference")
    return connector.eval()


def maps_of(reference, number):
    """The maps of one group of views, [views, cells, channels] each, and their grids."""
    planes = [reference.tensors[f"g{number}.level{scale}"] for scale in (1, 4)]
    return [plane.flatten(2).mT for plane in planes], [tuple(plane.shape[2:]) for plane in planes]


@torch.no_grad()
@pytest.mark.parametrize(("number", "views"), [(0, slice(0, 2)), (1, slice(2, 3))])
def test_reference(reference, number, views):
    tokens = connector_of(reference, (1, 4))(*maps_of(reference, number))
    close(tokens, reference.tensors["out"][views])


@torch.no_grad()
def test_order_of_maps_is_that_of_scales(reference):
    """Maps are told apart by their projection and their embedding, not by their place among the keys."""
    maps, grids = maps_of(reference, 0)
    close(connector_of(reference, (4, 1))(maps[::-1], grids[::-1]), reference.tensors["out"][:2])
    assert not torch.allclose(connector_of(reference, (4, 1))(maps, grids), reference.tensors["out"][:2], atol=1e-3)


def test_names_are_written_as_they_are_read(reference):
    weights = {name[2:]: value for name, value in reference.tensors.items() if name.startswith("w.")}
    written = hiwin_map((1, 4)).write(connector_of(reference, (1, 4)).state_dict())
    assert all(torch.equal(value, weights[name]) for name, value in written.items())
    left_out = {"query", "kv_proj.weight", *(name for name in weights if "_2x_" in name or "_8x_" in name)}
    assert written.keys() == weights.keys() - left_out


@torch.no_grad()
def test_sampling_before_or_after_the_projection(reference, monkeypatch):
    """The cheaper order is taken; both give the same numbers."""
    connector, (maps, grids) = connector_of(reference, (1, 4)), maps_of(reference, 0)
    for points in (0, 10**6):
        monkeypatch.setattr("foveal.connectors.hiwin.points_of", lambda grid, side, points=points: points)
        close(connector(maps, grids), reference.tensors["out"][:2])


@torch.no_grad()
@pytest.mark.parametrize("scale", [1, 4])
def test_a_query_sees_its_window_of_every_map(reference, scale):
    connector, (maps, grids) = connector_of(reference, (1, 4)), maps_of(reference, 0)
    changed, number = [features.clone() for features in maps], (1, 4).index(scale)
    changed[number][:, 0] += 1  # the first cell lies in the first query's window alone, or close to it
    moved = (connector(changed, grids) - connector(maps, grids)).abs().amax(dim=(0, 2)) > 1e-6
    assert moved[0]
    assert not moved[5:].any()


def test_unknown_scales_are_refused():
    with pytest.raises(ValueError, match=r"scales \[3\] of maps are unknown"):
        hiwin_map((1, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"queries": 5}, "5 is not a square number"), ({"queries": 4, "heads": 3}, "multiple of 4 and of heads 3")],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HiwinAttention((8, 8), 16, **options)

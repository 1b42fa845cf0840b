"""The promises of MiniCPM-V 4.6's tower, tested without reference data."""

import pytest
import torch

from foveal.core import Grid
from foveal.encoders import EarlyCompressionViT


def tiny(**options):
    torch.manual_seed(0)
    return EarlyCompressionViT(16, 3, 2, 24, 4, 24, **{"compress_after": 1} | options).eval()


@torch.no_grad()
@pytest.mark.parametrize("compress_after", [1, 3, None])
def test_packed_is_grouped(monkeypatch, compress_after):
    model = tiny(compress_after=compress_after)
    views = [torch.randn(3, 8, 16), torch.randn(3, 16, 8), torch.randn(3, 8, 16)]
    grouped = model.encode_views(views)
    monkeypatch.setattr("foveal.encoders.early_compression.runs_packed", lambda *_: True)
    for maps, reference in zip(model.encode_views(views), grouped, strict=True):
        torch.testing.assert_close(maps, reference, atol=1e-5, rtol=0)


def test_a_patch_has_the_position_of_its_place_in_the_view():
    """On the table's own grid each patch has its own cell; on half of it every second, on twice of it each twice."""
    model = tiny()
    for patches, cells in ((6, range(6)), (3, (0, 2, 4)), (12, [cell for cell in range(6) for _ in range(2)])):
        rows = torch.tensor([6 * cell for cell in cells])
        assert model._places(Grid(patches, 1)).flatten().tolist() == rows.tolist()
        assert model._places(Grid(1, patches)).flatten().tolist() == (rows // 6).tolist()


def test_a_window_sees_its_own_four_patches():
    """Without blocks in between, a change in one patch reaches one cell of the map."""
    layer, patches = tiny().compression, torch.randn(1, 24, 16)
    changed = patches.clone()
    changed[0, 13] += 1
    with torch.no_grad():
        moved = (layer(changed) - layer(patches)).abs().amax(dim=-1)[0] > 1e-6
    assert moved.tolist() == [number == 13 // 4 for number in range(6)]


def test_checkpointing_changes_no_gradient():
    views, found = torch.randn(2, 3, 16, 8), []
    for checkpointing in (False, True):
        model = tiny(checkpointing=checkpointing).train()
        model(views)[0].square().sum().backward()
        found.append([weight.grad for weight in model.parameters()])
    torch.testing.assert_close(found[0], found[1])


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="unknown activation 'relu'"):
        tiny(activation="relu")

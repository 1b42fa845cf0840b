"""The benchmarks of connectors and deformable attention: what they count and compare, not how long they take."""

from functools import partial

import pytest
import torch
from tools.bench import connectors, deformable, timing

CPU = torch.device("cpu")
WIDTH, OUT_WIDTH = 64, 256


@pytest.mark.parametrize("name", connectors.CONNECTORS)
def test_every_connector_makes_the_tokens_that_it_is_compared_at(name):
    built = connectors.CONNECTORS[name](WIDTH, OUT_WIDTH)
    cost = connectors.counted(built)
    assert cost.tokens == (576 if "for comparison" in name else connectors.TOKENS)
    assert cost.parameters == sum(weight.numel() for weight in built.parameters())
    assert cost.flops > 0


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("CAbstractor (Honeybee)", 37_398_016),
        ("DAbstractor (Honeybee)", 55_944_032),
        ("HoneybeeResampler", 106_224_640 + 576 * 1024),
        ("QFormer, 12 layers (BLIP-2)", 104_859_136),
        ("FlamingoPerceiver", 67_299_328),
        ("Idefics2Perceiver", 739_876_864),
        ("TokenPacker, 5 maps", 36_722_688),
    ],
)
def test_the_real_widths_give_the_published_sizes(name, parameters):
    with torch.device("meta"):
        built = connectors.CONNECTORS[name](connectors.WIDTH, connectors.OUT_WIDTH)
    assert sum(weight.numel() for weight in built.parameters()) == parameters


def test_flops_are_two_for_each_multiply_add():
    linear = connectors.counted(connectors.CONNECTORS[connectors.BASELINE](WIDTH, OUT_WIDTH))
    pooling = 12 * 24 * 24 * WIDTH + 12 * 24 * 12 * WIDTH
    assert linear.flops == 2 * (pooling + 144 * WIDTH * OUT_WIDTH)


def test_flops_of_attention_are_counted():
    former = connectors.counted(connectors.CONNECTORS["QFormer, 2 layers (DeCo's baseline)"](WIDTH, OUT_WIDTH))
    inner = 3 * WIDTH // 4
    projections = 144 * inner * inner * (2 * 4 + 2) + 2 * 576 * WIDTH * inner
    between = 2 * 144 * inner * (2 * 144 + 576)
    feed_forward = 2 * 2 * 144 * inner * 3 * WIDTH
    assert former.flops == 2 * (projections + between + feed_forward + 144 * inner * OUT_WIDTH)


def test_medians_leave_the_first_run_out():
    ran = []
    seconds = timing.medians({name: partial(ran.append, name) for name in "ab"}, CPU, rounds=2)
    assert ran == ["a", "b"] * 3
    assert seconds.keys() == {"a", "b"}


def test_rows_begin_with_the_fastest():
    built = connectors.CONNECTORS[connectors.BASELINE](WIDTH, OUT_WIDTH)
    connectors.step(built, connectors.features(built))
    cost = connectors.counted(built)
    first, second = connectors.rows(
        dict.fromkeys(("slow", connectors.BASELINE), cost), {"slow": 0.3, connectors.BASELINE: 0.2}
    )
    assert first.startswith(f"| {connectors.BASELINE} | 144 |")
    assert first.endswith("| 200.0 ms | 1.00 |")
    assert second.endswith("| 300.0 ms | 1.50 |")


@pytest.fixture
def small(monkeypatch):
    for name, value in {"GRID": (5, 3), "HEADS": 2, "HEAD_WIDTH": 4}.items():
        monkeypatch.setattr(deformable, name, value)


@pytest.mark.usefixtures("small")
def test_ways_to_sample_agree_on_maps_of_any_shape():
    deformable.check([(5, 3), (2, 4), (1, 1)], CPU)


@pytest.mark.usefixtures("small")
def test_a_way_that_is_wrong_is_refused(monkeypatch):
    monkeypatch.setitem(
        deformable.WAYS,
        "turned",
        lambda value, grids, locations, weights: deformable.gathered(value, grids, locations.flip(-1), weights),
    )
    with pytest.raises(AssertionError, match="turned is"):
        deformable.check([(5, 3), (2, 4)], CPU)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("way", [deformable.gathered, deformable.sampled])
def test_ways_to_sample_take_a_batch(way):
    grids = [(5, 3), (2, 4)]
    views = [deformable.inputs(grids, CPU, torch.float64) for _ in range(3)]
    value, locations, weights = (torch.cat(each) for each in zip(*views, strict=True))
    together = way(value, grids, locations, weights)
    alone = torch.cat([deformable.forward(deformable.deformable_attention, grids, view) for view in views])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("way", [deformable.gathered, deformable.sampled])
def test_gradients_agree_in_the_middle_of_a_cell(way):
    """Where offsets begin, and where the gradient jumps: all take the same side. Cells of 4x2 are exact in binary."""
    value = torch.randn(1, 8, 2, 4, dtype=torch.float64).requires_grad_()
    middles = deformable.centres((4, 2), CPU).double()[:, :, None, :, None].expand(-1, -1, 2, -1, 3, -1)
    given = value, middles.clone().requires_grad_(), torch.rand(1, 8, 2, 1, 3, dtype=torch.float64).requires_grad_()
    wanted = deformable.both(deformable.deformable_attention, [(4, 2)], given)
    for found, each in zip(deformable.both(way, [(4, 2)], given), wanted, strict=True):
        torch.testing.assert_close(found, each, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("small")
def test_deformable_prints_both_passes():
    forward, both = deformable.rows("here", [(5, 3)], CPU, rounds=1)
    assert forward.startswith("| here, forward |")
    assert both.startswith("| here, forward and backward |")
    assert forward.count("ms") == both.count("ms") == len(deformable.WAYS)

"""Padding of packed rows on the mixes of `tools.bench.packing`."""

import pytest
from tools.bench import packing as bench

from recipes.data.packing import packs_of

MOST = 0.06


def share(lengths, capacity):
    return 1 - sum(lengths) / (len(packs_of(lengths, capacity)) * capacity)


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_of_the_simulated_mixture_are_full(seed):
    lengths, pictures = bench.mix_665k(20_000, seed)
    assert lengths.max() == bench.LONGEST
    assert lengths[pictures].min() > bench.VISUAL
    assert pictures.mean() == pytest.approx(624 / 664, abs=0.01)
    assert share(lengths.tolist(), bench.CAPACITY) < 0.005 < MOST


@pytest.mark.slow
def test_rows_of_receipts_and_pages_are_full():
    mix = bench.receipts_and_pages(512)
    assert share([len(sample.input_ids) for sample in mix.samples], bench.CAPACITY) < MOST
    ways = bench.batches_of(mix)
    bench.check(mix.model, ways)
    assert bench.padding(ways["packed"]) < MOST < bench.padding(ways["padded, random order"])

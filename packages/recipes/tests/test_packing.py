"""Packs of samples: full, complete, in order, the same on every rank and after a resume."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.connectors import AdaptivePool
from foveal.encoders import VisionTransformer
from foveal.models import IGNORE_INDEX, Processor, Turn, UhdPlan, byte_tokenizer
from foveal.models.prompts.token_count import TokenCount
from recipes.data.dataset import Filled, LeftOut
from recipes.data.packing import (
    BUFFER,
    PackedCollator,
    PackedDataset,
    PackedOrder,
    Packs,
    pack,
    packs_of,
    untrained_pack,
)
from recipes.data.ranks import Position, RankBatches

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=40)


@settings(deadline=None)
@given(LENGTHS, st.randoms(use_true_random=False), st.integers(30, 60), st.integers(1, 12))
def test_packs_hold_every_sample_once_and_nothing_waits(lengths, random, capacity, buffer):
    order = list(range(len(lengths)))
    random.shuffle(order)
    packs = pack(lengths, order, capacity, buffer=buffer)
    waiting = list(order)
    for members in packs:
        assert members[0] == waiting[0]  # the oldest sample is always taken
        window = waiting[:buffer]
        assert members == [sample for sample in window if sample in members]
        assert sum(lengths[sample] for sample in members) <= capacity
        waiting = [sample for sample in waiting if sample not in members]
    assert not waiting
    assert pack(lengths, order, capacity, buffer=buffer).digest == packs.digest


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=9), st.integers(30, 90))
def test_a_pack_is_as_full_as_any_subset_with_the_oldest_sample(lengths, capacity):
    first = pack(lengths, range(len(lengths)), capacity, buffer=len(lengths))[0]
    totals = [
        lengths[0] + sum(others)
        for number in range(len(lengths))
        for others in combinations(lengths[1:], number)
        if lengths[0] + sum(others) <= capacity
    ]
    assert sum(lengths[sample] for sample in first) == max(totals)


@given(LENGTHS, st.integers(0, 10**12))
def test_the_seed_decides(lengths, seed):
    packs = packs_of(lengths, 30, seed=seed)
    assert sorted(sample for members in packs for sample in members) == list(range(len(lengths)))
    assert packs.digest == packs_of(np.array(lengths, dtype=np.int32), 30, seed=seed).digest


def test_other_packs_have_another_digest():
    lengths = [*range(1, 30)]
    digest = packs_of(lengths, 30).digest
    assert digest != packs_of(lengths, 31).digest
    assert digest != packs_of(lengths, 30, seed=1).digest
    assert digest != packs_of([*lengths[:-1], 30], 30).digest


def test_what_cannot_be_packed():
    with pytest.raises(ValueError, match="sample 2 has 31 tokens, a packed row has 30: raise packed_length"):
        pack([1, 30, 31, 40], range(4), 30)
    with pytest.raises(ValueError, match="from 0 samples"):
        pack([1], [0], 30, buffer=0)
    with pytest.raises(ValueError, match="there are no packs"):
        PackedOrder(0)
    with pytest.raises(IndexError, match="there are 1 packs"):
        packs_of([1], 30)[1]


def test_the_longest_buffer_of_equal_samples_and_faulty_ones():
    """A sample that is known to be unusable has no tokens, and does not disturb the others."""
    lengths = [7] * 300 + [0] * 3
    packs = packs_of(lengths, 50)
    sizes = [sum(lengths[sample] for sample in members) for members in packs]
    assert sorted(sample for members in packs for sample in members) == list(range(303))
    assert sizes[:-1] == [49] * (len(sizes) - 1)
    assert BUFFER == 128


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 3), st.integers(0, 40), st.integers(0, 3))
def test_ranks_share_packs_and_resume(number, batch_size, ranks, done, epoch):
    order = PackedOrder(number, seed=3)
    sizes = {"batch_size": batch_size, "parts": ranks}
    indices = order.indices(epoch, **sizes)
    assert sorted(indices) == list(range(number))
    position = Position(epoch, min(done // (batch_size * ranks) * batch_size * ranks, number), batch_size, ranks)
    resumed = [
        list(RankBatches(order, batch_size=batch_size, ranks=ranks, rank=rank, position=position))
        for rank in range(ranks)
    ]
    assert len({len(batches) for batches in resumed}) == 1
    seen = [index for batches in zip(*resumed, strict=True) for batch in batches for index in batch if index >= 0]
    assert seen == indices[position.samples :]


def test_every_epoch_has_another_order():
    order = PackedOrder(40)
    assert order.indices(0, batch_size=2, parts=1) != order.indices(1, batch_size=2, parts=1)
    assert order.indices(0, batch_size=2, parts=1) == order.indices(0, batch_size=4, parts=2)
    assert order.indices(0, batch_size=2, parts=1) != PackedOrder(40, seed=1).indices(0, batch_size=2, parts=1)


@pytest.fixture
def processor():
    plan = UhdPlan(64, 8, 6)
    encoder = VisionTransformer(8, 1, 1, 8, 8, 64, layers=(-1,))
    return Processor(
        byte_tokenizer(), plan, count=TokenCount(encoder, AdaptivePool(8, 8, rows=2, columns=2), plan), system=""
    )


@pytest.fixture
def samples(processor):
    """Four samples, of which the second is left out; the third was left out before, and that was said."""
    made = [processor.encode([], [Turn("user", text), Turn("assistant", text)], key=text) for text in ("A", "B", "Dog")]
    return [made[0], LeftOut("the second is damaged"), LeftOut(), made[2], made[1]]


def test_a_batch_of_packs(processor, samples):
    packs = Packs(np.array([0, 1, 3, 2, 4]), np.array([3, 4, 5]))
    dataset = Filled(PackedDataset(samples, packs), untrained_pack)
    collator = PackedCollator(processor, 100)
    batch = collator([dataset[0], dataset[1], dataset[2]])
    assert batch.keys == ("A", "Dog", "B")
    assert batch.left_out == ("the second is damaged",)
    assert batch.input_ids.shape == (3, 100)
    lengths = [len(samples[0].input_ids) + len(samples[3].input_ids), 0, len(samples[4].input_ids)]
    assert batch.attention_mask.sum(dim=1).tolist() == lengths
    filler = collator([dataset[~0], dataset[2]])
    assert filler.keys == batch.keys
    assert filler.left_out == ()
    assert torch.equal(filler.input_ids, batch.input_ids[[0, 2]])
    assert (filler.labels[0] == IGNORE_INDEX).all()
    assert torch.equal(filler.labels[1], batch.labels[2])


def test_a_batch_of_nothing_is_blank(processor, samples):
    batch = PackedCollator(processor, 100)([[samples[1]], [samples[2]]])
    assert batch.keys == ("blank",)
    assert batch.input_ids.shape == (2, 100)
    assert len(batch.views) == 1
    assert (batch.labels == IGNORE_INDEX).all()
    assert batch.left_out == ("the second is damaged",)


def test_a_sample_that_became_longer_is_named(processor, samples):
    with pytest.raises(ValueError, match=r"A, Dog: \d+ tokens do not fit into a packed row of 20"):
        PackedCollator(processor, 20)([[samples[0], samples[3]]])

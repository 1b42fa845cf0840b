"""The order of samples: the reference's invariants, ranks, positions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.data.order import Curriculum, ModalityLengthOrder
from recipes.data.ranks import Position, RankBatches, rank_questions

LENGTHS = st.lists(st.integers(-30, 30).filter(bool), min_size=1, max_size=60)


def check_invariants(lengths, order, batch_size, parts):
    """The five rules that come with the reference data."""
    block = batch_size * parts
    assert sorted(order) == list(range(len(lengths)))
    pictures, texts = sum(x > 0 for x in lengths), sum(x < 0 for x in lengths)
    mixed = pictures > 0 and texts > 0
    full = ((pictures - 1) // block + (texts - 1) // block) if mixed else len(lengths) // block
    for number in range(full):
        part = order[number * block : (number + 1) * block]
        assert len({lengths[index] > 0 for index in part}) == 1
        chunks = [part[start : start + batch_size] for start in range(0, block, batch_size)]
        for chunk in chunks:
            sizes = [abs(lengths[index]) for index in chunk]
            assert sizes == sorted(sizes, reverse=True)
        assert abs(lengths[part[0]]) == max(abs(lengths[index]) for index in part)
    if mixed:
        assert order[full * block :] == sorted(order[full * block :])


def test_the_references_cases(golden):
    meta = golden("llava/modality_sampler").meta
    cases = meta["cases"] if isinstance(meta, dict) else meta
    for case in cases:
        sizes = {"batch_size": case["per_device_batch_size"], "parts": case["world_size_times_accumulation"]}
        check_invariants(case["lengths"], ModalityLengthOrder(case["lengths"]).indices(0, **sizes), **sizes)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 3), st.integers(1, 3), st.integers(0, 5))
def test_invariants(lengths, parts, batch_size, epoch):
    order = ModalityLengthOrder(lengths).indices(epoch, batch_size=batch_size, parts=parts)
    check_invariants(lengths, order, batch_size, parts)


@pytest.mark.parametrize("sign", [1, -1])
def test_parts_of_a_step_are_of_similar_length(sign):
    """Also of texts alone, whose lengths are negative: every rank waits for the longest part."""
    lengths = [sign * each for each in range(1, 129)]
    order = ModalityLengthOrder(lengths).indices(0, batch_size=16, parts=8)
    totals = [sum(abs(lengths[index]) for index in order[start : start + 16]) for start in range(0, 128, 16)]
    assert max(totals) - min(totals) <= 16


def test_seed_and_epoch_decide():
    def indices(epoch, seed=0):
        return ModalityLengthOrder(list(range(1, 41)), seed=seed).indices(epoch, batch_size=2, parts=2)

    assert indices(0) == indices(0)
    assert indices(0) != indices(1)
    assert indices(0) != indices(0, seed=1)


def test_a_curriculum_stays_in_order():
    assert Curriculum(5).indices(3, batch_size=2, parts=1) == [0, 1, 2, 3, 4]


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))


def of_ranks(order, batch_size, accumulation, ranks, position=None):
    return [
        RankBatches(order, batch_size=batch_size, accumulation=accumulation, ranks=ranks, rank=rank, position=position)
        for rank in range(ranks)
    ]


@settings(deadline=None)
@given(SIZES, SIZES, st.integers(0, 40), st.booleans())
def test_ranks_share_every_epoch_from_any_position_on(sizes, others, done, shuffled):
    """Each sample once, in steps of equally many batches, even if ranks and batch size change within an epoch."""
    number, batch_size, accumulation, ranks = sizes
    order = ModalityLengthOrder(range(1, number + 1)) if shuffled else Curriculum(number)
    first = of_ranks(order, batch_size, accumulation, ranks)[0]
    before = min(done, len(first))
    position = first.after(before)
    assert position == Position(0, min(number, before * batch_size * ranks), batch_size, accumulation * ranks)
    whole = order.indices(0, batch_size=batch_size, parts=accumulation * ranks)
    _, batch_size, accumulation, ranks = others
    batches = of_ranks(order, batch_size, accumulation, ranks, position)
    lists = [list(each) for each in batches]
    assert {len(each) for each in lists} == {len(batches[0]) - batches[0].begun}
    real = [index for step in zip(*lists, strict=True) for batch in step for index in batch if index >= 0]
    assert real == whole[position.samples :]
    assert all(len(batch) <= batch_size for each in lists for batch in each)
    assert batches[0].after(len(batches[0])).samples == number
    batches[0].set_epoch(1)
    assert batches[0].begun == 0
    assert batches[0].position == Position(1, 0, batch_size, accumulation * ranks)


def test_a_rank_without_a_sample_gets_a_filler():
    assert [list(each) for each in of_ranks(Curriculum(5), 2, 1, 2)] == [[[0, 1], [4]], [[2, 3], [~4]]]


def test_a_step_of_all_ranks_is_of_one_modality():
    lengths = [5] * 20 + [-5] * 20
    lists = [list(each) for each in of_ranks(ModalityLengthOrder(lengths), 2, 1, 2)]
    for step in list(zip(*lists, strict=True))[:8]:
        assert len({lengths[index] > 0 for batch in step for index in batch}) == 1


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 4))
def test_questions_are_shared(number, batch_size, ranks):
    lists = [rank_questions(number, batch_size=batch_size, ranks=ranks, rank=rank) for rank in range(ranks)]
    assert len({len(each) for each in lists}) == 1
    assert sorted(index for each in lists for batch in each for index in batch if index >= 0) == list(range(number))


def test_faults():
    with pytest.raises(ValueError, match="1 samples have length 0, the first is number 1"):
        ModalityLengthOrder([3, 0])
    for empty in (lambda: ModalityLengthOrder([]), lambda: Curriculum(0)):
        with pytest.raises(ValueError, match="no samples"):
            empty()
    with pytest.raises(ValueError, match="9 samples of the epoch are done, but it has 5"):
        RankBatches(Curriculum(5), batch_size=1, position=Position(0, 9, 1, 1))

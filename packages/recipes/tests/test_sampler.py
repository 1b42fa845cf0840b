"""The order of samples: the reference's invariants, ranks, resuming."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.data.sampler import ModalityLengthSampler

LENGTHS = st.lists(st.integers(-30, 30).filter(bool), min_size=1, max_size=60)


def sampler(lengths, parts=2, batch_size=2, **options):
    return ModalityLengthSampler(lengths, batch_size=batch_size, accumulation=parts, **options)


def check_invariants(lengths, order, batch_size, parts):
    """The five rules beside the reference data."""
    block = batch_size * parts
    assert sorted(order) == list(range(len(lengths)))
    pictures, texts = sum(x > 0 for x in lengths), sum(x < 0 for x in lengths)
    mixed = pictures > 0 and texts > 0
    full = ((pictures - 1) // block + (texts - 1) // block) if mixed else len(lengths) // block
    for number in range(full):
        part = order[number * block : (number + 1) * block]
        assert len({lengths[index] > 0 for index in part}) == 1
        key = (lambda index: abs(lengths[index])) if mixed else (lambda index: lengths[index])
        chunks = [part[start : start + batch_size] for start in range(0, block, batch_size)]
        for chunk in chunks:
            assert [key(index) for index in chunk] == sorted((key(index) for index in chunk), reverse=True)
        assert key(part[0]) == max(key(index) for index in part)
    if mixed:
        assert order[full * block :] == sorted(order[full * block :])


def test_the_references_cases(golden):
    meta = golden("llava/modality_sampler").meta
    cases = meta["cases"] if isinstance(meta, dict) else meta
    for case in cases:
        batch_size = case["per_device_batch_size"]
        parts = case["world_size_times_accumulation"]
        ours = sampler(case["lengths"], parts, batch_size)
        check_invariants(case["lengths"], ours.order(), batch_size, parts)


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 3), st.integers(1, 3), st.integers(0, 5))
def test_invariants(lengths, parts, batch_size, epoch):
    ours = sampler(lengths, parts, batch_size)
    ours.set_epoch(epoch)
    check_invariants(lengths, ours.order(), batch_size, parts)


def test_seed_and_epoch_decide():
    lengths = list(range(1, 41))
    first, second = sampler(lengths), sampler(lengths)
    assert first.order() == second.order()
    second.set_epoch(1)
    assert first.order() != second.order()
    assert sampler(lengths, seed=1).order() != first.order()


@settings(deadline=None)
@given(LENGTHS, st.integers(1, 4))
def test_ranks_share_the_samples(lengths, ranks):
    of_ranks = [list(sampler(lengths, 1, ranks=ranks, rank=rank)) for rank in range(ranks)]
    assert {len(mine) for mine in of_ranks} == {-(-len(lengths) // ranks)}
    assert {index for mine in of_ranks for index in mine} == set(range(len(lengths)))


def test_a_step_of_all_ranks_is_of_one_modality():
    lengths = [5] * 20 + [-5] * 20
    of_ranks = [list(ModalityLengthSampler(lengths, batch_size=2, ranks=2, rank=rank)) for rank in range(2)]
    for start in range(0, 16, 2):
        step = [lengths[index] > 0 for mine in of_ranks for index in mine[start : start + 2]]
        assert len(set(step)) == 1


def test_resuming_goes_on_where_it_was():
    lengths = [3, -4, 5, 6, -7, 8, 9, 10]
    whole = list(sampler(lengths))
    first = sampler(lengths)
    running = iter(first)
    seen = [next(running) for _ in range(3)]
    second = sampler(lengths)
    second.load_state_dict(first.state_dict())
    assert seen + list(second) == whole
    assert list(second) == whole  # the next epoch begins at its beginning


def test_faults():
    with pytest.raises(ValueError, match="1 samples have length 0, the first is number 1"):
        sampler([3, 0])
    with pytest.raises(ValueError, match="no samples"):
        sampler([])

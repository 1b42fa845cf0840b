"""Ragged sequences packed into one and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foveal.core import Lengths, group_by, pack, unpack


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_unpack_undoes_pack(lengths):
    sequences = [torch.randn(length, 3) for length in lengths]
    packed, found = pack(sequences)
    assert packed.shape == (1, sum(lengths), 3)
    assert found == tuple(lengths)
    for sequence, back in zip(sequences, unpack(packed, found), strict=True):
        assert torch.equal(sequence, back)


@given(st.lists(st.integers(0, 3)))
def test_groups_hold_every_position_once(keys):
    groups = group_by(keys)
    assert sorted(index for indices in groups.values() for index in indices) == list(range(len(keys)))
    assert all(keys[index] == key for key, indices in groups.items() for index in indices)
    assert list(groups) == list(dict.fromkeys(keys))


def test_what_cannot_be_packed():
    with pytest.raises(ValueError, match="empty"):
        pack([])
    with pytest.raises(ValueError, match="agree after the first dimension"):
        pack([torch.zeros(2, 3), torch.zeros(2, 4)])
    with pytest.raises(ValueError, match="add up to 3"):
        unpack(torch.zeros(1, 4, 2), [1, 2])


def test_what_is_made_of_lengths_is_made_once():
    lengths, cpu = Lengths([2, 3]), torch.device("cpu")
    with torch.inference_mode():
        starts = lengths.starts(cpu)
    assert starts.dtype == torch.int32
    assert starts.tolist() == [0, 2, 5]
    assert not starts.is_inference()
    assert lengths.starts(cpu) is starts
    assert lengths.starts(torch.device("meta")).is_meta
    assert Lengths([2, 3]).starts(cpu) is not starts

"""Attention against a plain loop that a reader can check."""

import math
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.core import attention, runs_packed
from foveal.core.xformers_kernel import obstacle


def plain(query, key, value, causal=False, mask=None, scale=None):
    """One sequence and one head at a time, in float64; rows that see nothing are zero."""
    batch, queries, heads, width = query.shape
    query, key, value = query.double(), key.double(), value.double()
    scale = 1 / math.sqrt(width) if scale is None else scale
    out = torch.zeros_like(query)
    for b in range(batch):
        for h in range(heads):
            for i in range(queries):
                seen = [j for j in range(key.shape[1]) if (not causal or j <= i) and (mask is None or mask[b, j])]
                if seen:
                    weights = torch.softmax(key[b, seen, h] @ query[b, i, h] * scale, dim=0)
                    out[b, i, h] = weights @ value[b, seen, h]
    return out


def random_tensors(batch, queries, keys, heads, width, dtype=torch.float32):
    generator = torch.Generator().manual_seed(batch + 10 * queries + 100 * keys)
    sizes = ((batch, queries, heads, width), (batch, keys, heads, width), (batch, keys, heads, width))
    return [torch.randn(size, generator=generator).to(dtype) for size in sizes]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_dense_is_the_plain_loop(batch, queries, keys, heads, causal, masked, scaled):
    keys = queries if causal else keys
    query, key, value = random_tensors(batch, queries, keys, heads, 8)
    mask = torch.rand(batch, keys) < 0.6 if masked else None
    scale = 0.3 if scaled else None
    ours = attention(query, key, value, causal=causal, key_mask=mask, scale=scale)
    torch.testing.assert_close(ours.double(), plain(query, key, value, causal, mask, scale), atol=1e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)), min_size=1, max_size=5), st.booleans())
def test_packed_is_one_sequence_after_the_other(lengths, causal):
    own = [length for length, _ in lengths]
    others = own if causal else [length for _, length in lengths]
    query, key, value = random_tensors(1, sum(own), sum(others), 2, 8)
    ours = attention(query, key, value, lengths=own, key_lengths=others, causal=causal)
    expected = [
        plain(q, k, v, causal)
        for q, k, v in zip(query.split(own, 1), key.split(others, 1), value.split(others, 1), strict=True)
    ]
    torch.testing.assert_close(ours.double(), torch.cat(expected, dim=1), atol=1e-5, rtol=0)


def test_packed_sequences_do_not_see_each_other():
    query, key, value = random_tensors(1, 7, 7, 2, 8)
    before = attention(query, key, value, lengths=[3, 4])
    value[:, :3] += 100
    after = attention(query, key, value, lengths=[3, 4])
    torch.testing.assert_close(before[:, 3:], after[:, 3:])
    assert not torch.allclose(before[:, :3], after[:, :3])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_half_precision_is_near(causal, masked):
    query, key, value = random_tensors(2, 9, 9, 2, 16, torch.bfloat16)
    mask = torch.rand(2, 9) < 0.6 if masked else None
    ours = attention(query, key, value, causal=causal, key_mask=mask)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.double(), plain(query, key, value, causal, mask), atol=2e-2, rtol=0)


def test_half_precision_is_near_when_packed():
    query, key, value = random_tensors(1, 9, 9, 2, 16, torch.bfloat16)
    ours = attention(query, key, value, lengths=[4, 5])
    expected = [plain(query[:, part], key[:, part], value[:, part]) for part in (slice(0, 4), slice(4, 9))]
    torch.testing.assert_close(ours.double(), torch.cat(expected, dim=1), atol=2e-2, rtol=0)


def test_nothing_to_attend_with_or_to():
    query, key, value = random_tensors(1, 3, 0, 2, 8)
    assert torch.equal(attention(query, key, value), torch.zeros_like(query))
    assert attention(query[:, :0], key, value, lengths=[]).shape == (1, 0, 2, 8)


def test_a_row_that_sees_nothing_is_zero_and_has_no_gradient():
    query, key, value = random_tensors(2, 3, 4, 1, 8)
    for tensor in (query, key, value):
        tensor.requires_grad_()
    mask = torch.tensor([[False] * 4, [True] * 4])
    out = attention(query, key, value, key_mask=mask)
    assert torch.equal(out[0], torch.zeros_like(out[0]))
    out.sum().backward()
    for tensor in (query, key, value):
        assert torch.isfinite(tensor.grad).all()
        assert torch.equal(tensor.grad[0], torch.zeros_like(tensor.grad[0]))
    assert value.grad[1].abs().sum() > 0


def test_a_kernel_that_gives_nan_for_rows_that_see_nothing_does_no_harm(monkeypatch):
    def kernel(query, key, value, attn_mask, is_causal, scale):
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        return scores.masked_fill(~attn_mask, -torch.inf).softmax(dim=-1) @ value

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", kernel)
    query, key, value = (tensor.requires_grad_() for tensor in random_tensors(2, 4, 4, 1, 8))
    mask = torch.tensor([[False, True, True, False], [True] * 4])
    out = attention(query, key, value, causal=True, key_mask=mask)
    torch.testing.assert_close(out.double(), plain(query, key, value, True, mask), atol=1e-5, rtol=0)
    out.sum().backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in (query, key, value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key_mask": torch.ones(2, 5, dtype=torch.bool)}, r"key_mask must be bool \[batch, keys\] = \(2, 4\)"),
        ({"key_mask": torch.ones(2, 4)}, "key_mask must be bool"),
        ({"causal": True}, "as many queries as keys"),
        ({"lengths": [3]}, "batch 1"),
        ({"key_lengths": [4]}, "key_lengths without lengths"),
        ({"backend": "flash"}, "unknown attention backend 'flash'"),
    ],
)
def test_arguments_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        attention(*random_tensors(2, 3, 4, 1, 8), **change)


def test_packed_arguments_that_do_not_fit():
    query, key, value = random_tensors(1, 4, 4, 1, 8)
    with pytest.raises(ValueError, match="add up to 3"):
        attention(query, key, value, lengths=[1, 2])
    with pytest.raises(ValueError, match=r"negative length in lengths \[5, -1\]"):
        attention(query, key, value, lengths=[5, -1])
    with pytest.raises(ValueError, match="2 packed queries, 1 packed keys"):
        attention(query, key, value, lengths=[1, 3], key_lengths=[4])
    with pytest.raises(ValueError, match="in every packed sequence"):
        attention(query, key, value, lengths=[1, 3], key_lengths=[2, 2], causal=True)
    with pytest.raises(ValueError, match="for dense input"):
        attention(query, key, value, lengths=[4], key_mask=torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="batch, tokens, heads, head_width"):
        attention(query[0], key, value)
    with pytest.raises(ValueError, match="the same shape"):
        attention(query, key, value[:, :3])


def test_a_kernel_asked_for_by_name_says_why_it_cannot_run():
    tensors = random_tensors(1, 4, 4, 1, 8)
    assert obstacle(tensors[0]) is not None
    with pytest.raises(RuntimeError, match=r"'xformers' cannot run: (the package|it runs on CUDA)"):
        attention(*tensors, backend="xformers")
    assert not runs_packed(tensors[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_kernels_agree(dtype, tolerance, causal, packed):
    if find_spec("xformers") is None:
        pytest.skip("the extra xformers is not installed")
    query, key, value = (tensor.cuda() for tensor in random_tensors(1, 12, 12, 2, 32, dtype))
    lengths = [5, 4, 3] if packed else None
    ours = attention(query, key, value, lengths=lengths, causal=causal, backend="xformers")
    reference = attention(query, key, value, lengths=lengths, causal=causal, backend="sdpa")
    torch.testing.assert_close(ours, reference, atol=tolerance, rtol=0)


def test_heads_that_are_shared_are_as_if_repeated():
    query, key, value = random_tensors(1, 7, 7, 4, 8)
    key, value = key[:, :, :2], value[:, :, :2]
    repeated = [each.repeat_interleave(2, dim=2) for each in (key, value)]
    for options in ({}, {"causal": True}, {"lengths": [3, 4]}, {"key_mask": torch.rand(1, 7) < 0.6}):
        assert torch.equal(attention(query, key, value, **options), attention(query, *repeated, **options))
    with pytest.raises(ValueError, match="the number of key and value heads must divide the number of query heads"):
        attention(query[:, :, :3], key, value)


def test_it_can_be_compiled_whole():
    """Only eager calls are logged: logging would break the graph."""
    query, key, value = random_tensors(1, 7, 7, 2, 8)
    compiled = torch.compile(attention, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(query, key, value, causal=True), attention(query, key, value, causal=True))

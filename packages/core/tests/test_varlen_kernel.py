"""What torch's varlen attention receives, shown by a stand-in with its documented interface; and which kernel runs."""

import logging
from itertools import pairwise

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import varlen

from foveal.core import Lengths, attention, kernels, runs_packed, trial, varlen_kernel, xformers_kernel


def varlen_attn(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False
):
    """One sequence at a time; [tokens, heads, head_width]."""
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert enable_gqa == (query.shape[1] != key.shape[1])
    assert window_size in ((-1, -1), (-1, 0))
    own, others = (list(pairwise(starts.tolist())) for starts in (cu_seq_q, cu_seq_k))
    assert max_q == max(end - start for start, end in own)
    assert max_k == max(end - start for start, end in others)
    groups = query.shape[1] // key.shape[1]
    out = []
    for (start, end), (key_start, key_end) in zip(own, others, strict=True):
        q = query[start:end]
        k, v = (each[key_start:key_end].repeat_interleave(groups, dim=1) for each in (key, value))
        scores = torch.einsum("qhd,khd->hqk", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if window_size[1] == 0:
            scores = scores + torch.full_like(scores, -torch.inf).triu(1)
        out.append(torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), v))
    return torch.cat(out)


@pytest.fixture
def stand_in(monkeypatch):
    """The kernel runs everywhere, xformers nowhere."""
    monkeypatch.setattr(varlen, "varlen_attn", varlen_attn)
    monkeypatch.setattr(varlen_kernel, "obstacle", lambda _: None)
    monkeypatch.setattr(xformers_kernel, "obstacle", lambda _: "not built")


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="foveal")
    kernels._say.cache_clear()
    yield caplog
    kernels._say.cache_clear()


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize(
    ("batch", "lengths", "key_lengths", "causal"),
    [
        (2, None, None, False),
        (2, None, None, True),
        (1, [4, 1, 3], None, False),
        (1, [4, 1, 3], None, True),
        (1, [4, 1, 3], [2, 6, 1], False),
    ],
)
def test_arguments_say_what_sdpa_computes(batch, lengths, key_lengths, causal, scale, key_heads):
    keys = 8 if causal or (lengths and not key_lengths) else 9
    query = torch.randn(batch, 8, 4, 8)
    key, value = torch.randn(2, batch, keys, key_heads, 8)
    options = {"lengths": lengths, "key_lengths": key_lengths, "causal": causal, "scale": scale}
    ours = attention(query, key, value, backend="varlen", **options)
    torch.testing.assert_close(ours, attention(query, key, value, backend="sdpa", **options), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("stand_in")
def test_layers_share_the_places_of_their_lengths(monkeypatch):
    seen = []
    monkeypatch.setattr(varlen, "varlen_attn", lambda query, *rest, **_: seen.append(rest[2:4]) or query)
    tensor, lengths = torch.randn(1, 4, 1, 8), Lengths([1, 3])
    for _ in range(2):
        attention(tensor, tensor, tensor, lengths=lengths)
    assert len({id(starts) for pair in seen for starts in pair}) == 1


@pytest.mark.usefixtures("stand_in")
def test_nothing_is_asked_of_it_where_there_is_nothing():
    query, key = torch.randn(2, 3, 2, 8), torch.randn(2, 0, 2, 8)
    assert torch.equal(attention(query, key, key, backend="varlen"), torch.zeros_like(query))


@pytest.mark.usefixtures("stand_in")
def test_auto_takes_xformers_before_it_and_it_before_sdpa(monkeypatch, log):
    tensor = torch.randn(1, 4, 2, 8)
    for _ in range(3):
        assert runs_packed(tensor)
        attention(tensor, tensor, tensor, lengths=[2, 2])
        attention(tensor, tensor, tensor)
    monkeypatch.setattr(xformers_kernel, "obstacle", lambda _: None)
    assert kernels.chosen(tensor, "auto", packed=True) is xformers_kernel.attend
    for kernel in (xformers_kernel, varlen_kernel):
        monkeypatch.setattr(kernel, "obstacle", lambda _: "too old")
    assert not runs_packed(tensor)
    assert log.messages == [
        "attention, packed, float32 on cpu, head width 8: varlen (xformers: not built)",
        "attention, dense, float32 on cpu, head width 8: sdpa",
        "attention, packed, float32 on cpu, head width 8: xformers",
        "attention, packed, float32 on cpu, head width 8: sdpa (xformers: too old; varlen: too old)",
    ]


def test_what_was_not_shown_is_said_later(log):
    tensor = torch.randn(1, 4, 2, 8)
    log.set_level(logging.WARNING, logger="foveal")
    attention(tensor, tensor, tensor)
    log.set_level(logging.INFO, logger="foveal")
    attention(tensor, tensor, tensor)
    assert log.messages == ["attention, dense, float32 on cpu, head width 8: sdpa"]


def test_under_autocast_the_dtype_is_its_own(monkeypatch):
    asked = []
    monkeypatch.setattr(xformers_kernel, "obstacle", lambda tensor: asked.append((tensor.dtype, tensor.shape[-1])))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        runs_packed(torch.randn(2, 8))
    runs_packed(torch.randn(2, 8, device="meta"))
    assert asked == [(torch.bfloat16, 8), (torch.float32, 8)]


@pytest.mark.parametrize(
    ("dtype", "width", "reason"),
    [
        (torch.float32, 64, r"it takes float16 and bfloat16, not torch\.float32"),
        (torch.bfloat16, 20, "it takes head widths that are multiples of 8 up to 256, not 20"),
        (torch.bfloat16, 264, "it takes head widths that are multiples of 8 up to 256, not 264"),
    ],
)
def test_an_explicit_choice_that_cannot_run_says_why(dtype, width, reason):
    with FakeTensorMode():
        tensor = torch.empty(1, 4, 2, width, device="cuda", dtype=dtype)
    with pytest.raises(RuntimeError, match=f"attention backend 'varlen' cannot run: {reason}"):
        attention(tensor, tensor, tensor, lengths=[2, 2], backend="varlen")
    with pytest.raises(RuntimeError, match="CUDA devices only, the tensors are on cpu"):
        attention(*[torch.empty(1, 4, 2, width)] * 3, backend="varlen")


def test_a_torch_whose_kernel_is_older_is_named(monkeypatch):
    monkeypatch.setattr(varlen, "varlen_attn", lambda query, key, value, *, scale=None: query)
    varlen_kernel._absence.cache_clear()
    try:
        with FakeTensorMode():
            tensor = torch.empty(1, 4, 2, 8, device="cuda", dtype=torch.float16)
        assert "cannot share heads; torch 2.12 or later is needed" in varlen_kernel.obstacle(tensor)
    finally:
        varlen_kernel._absence.cache_clear()


@pytest.mark.parametrize("causal", [False, True])
def test_torchs_own_takes_the_arguments(causal):
    """The real function, on fake tensors; the next test runs it on a GPU."""
    with FakeTensorMode():
        query = torch.empty(1, 7, 4, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        key = torch.empty(1, 7, 2, 64, device="cuda", dtype=torch.bfloat16)
        packed = varlen_kernel.attend(query, key, key, Lengths([3, 4]), Lengths([3, 4]), causal, 0.2)
        dense = varlen_kernel.attend(query, key, key, None, None, causal, None)
    assert packed.shape == dense.shape == query.shape
    assert packed.requires_grad


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_agrees_with_sdpa_forward_and_backward(packed, causal, key_heads):
    lengths = [5, 4, 3] if packed else None
    query = torch.randn(1, 12, 4, 64, device="cuda", dtype=torch.bfloat16)
    key, value = torch.randn(2, 1, 12, key_heads, 64, device="cuda", dtype=torch.bfloat16)
    results = []
    for backend in ("varlen", "sdpa"):
        inputs = [each.detach().requires_grad_() for each in (query, key, value)]
        out = attention(*inputs, lengths=lengths, causal=causal, backend=backend)
        results.append((out, *torch.autograd.grad(out.float().square().sum(), inputs)))
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, atol=5e-2, rtol=2e-2)
    assert trial.refusal(varlen_kernel.attend, query) is None

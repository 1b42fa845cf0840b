"""What xformers receives, shown by a stand-in with its documented interface that applies the given bias."""

import sys
from dataclasses import dataclass, replace
from types import ModuleType

import pytest
import torch

from foveal.core import Lengths, attention, runs_packed, trial, xformers_kernel


class LowerTriangularMask:
    """Query i sees keys 0..i."""


@dataclass(frozen=True)
class BlockDiagonalMask:
    """Sequence s of the queries sees sequence s of the keys."""

    queries: list[int]
    keys: list[int]
    device: torch.device
    causal: bool = False

    @classmethod
    def from_seqlens(cls, q_seqlen, kv_seqlen=None, *, device=None):
        return cls(q_seqlen, q_seqlen if kv_seqlen is None else kv_seqlen, device)

    def make_causal(self):
        return replace(self, causal=True)


def visible(bias, queries, keys):
    everything = torch.ones(queries, keys, dtype=torch.bool)
    if bias is None:
        return everything
    if isinstance(bias, LowerTriangularMask):
        return everything.tril()
    blocks = [torch.ones(q, k, dtype=torch.bool) for q, k in zip(bias.queries, bias.keys, strict=True)]
    return torch.block_diag(*(block.tril() if bias.causal else block for block in blocks)).bool()


def memory_efficient_attention(query, key, value, attn_bias=None, p=0.0, scale=None):
    if isinstance(attn_bias, BlockDiagonalMask):
        assert attn_bias.device == query.device
        assert len(query) == 1
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) * scale
    scores = scores.masked_fill(~visible(attn_bias, query.shape[1], key.shape[1]), -torch.inf)
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(dim=-1), value)


@pytest.fixture
def stand_in(monkeypatch):
    """The parts of the package used here; a test may replace them."""
    modules = {name: ModuleType(name) for name in ("xformers", "xformers.ops", "xformers.ops.fmha")}
    biases = ModuleType("xformers.ops.fmha.attn_bias")
    biases.LowerTriangularMask, biases.BlockDiagonalMask = LowerTriangularMask, BlockDiagonalMask
    modules["xformers.ops"].memory_efficient_attention = memory_efficient_attention
    for name, module in (modules | {biases.__name__: biases}).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(xformers_kernel, "obstacle", lambda _: None)
    trial._refusal.cache_clear()
    yield modules["xformers.ops"]
    trial._refusal.cache_clear()


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize(
    ("lengths", "key_lengths", "causal"),
    [
        (None, None, False),
        (None, None, True),
        ([4, 1, 3], None, False),
        ([4, 1, 3], None, True),
        ([4, 1, 3], [2, 6, 1], False),
    ],
)
def test_arguments_say_what_torch_computes(lengths, key_lengths, causal, scale):
    query, key, value = torch.randn(1, 8, 2, 4), torch.randn(1, 9, 2, 4), torch.randn(1, 9, 2, 4)
    if key_lengths is None:
        key, value = key[:, :8], value[:, :8]
    options = {"lengths": lengths, "key_lengths": key_lengths, "causal": causal, "scale": scale}
    ours = attention(query, key, value, backend="xformers", **options)
    torch.testing.assert_close(ours, attention(query, key, value, backend="sdpa", **options), atol=1e-5, rtol=0)
    shared = attention(query, key[:, :, :1], value[:, :, :1], backend="xformers", **options)
    repeated = (each[:, :, :1].expand_as(each) for each in (key, value))
    torch.testing.assert_close(shared, attention(query, *repeated, backend="sdpa", **options), atol=1e-5, rtol=0)


def test_auto_takes_it_for_packed_input_only(stand_in):
    calls = []
    stand_in.memory_efficient_attention = lambda *args, **options: calls.append(1) or args[0]
    tensor = torch.randn(1, 4, 1, 8)
    attention(tensor, tensor, tensor)
    attention(tensor, tensor, tensor, key_mask=torch.ones(1, 4, dtype=torch.bool))
    attention(tensor, tensor, tensor, lengths=[2, 0, 2])
    attention(tensor, tensor, tensor, lengths=[2, 2], backend="sdpa")
    assert not calls
    attention(tensor, tensor, tensor, lengths=[2, 2])
    assert len(calls) == 1
    assert runs_packed(tensor)
    assert not runs_packed(tensor, "sdpa")


@pytest.mark.usefixtures("stand_in")
def test_what_it_does_not_take_is_said_when_asked_for_by_name():
    tensor = torch.randn(1, 4, 1, 8)
    with pytest.raises(RuntimeError, match="'xformers' cannot run: a key mask is given; pack the sequences"):
        attention(tensor, tensor, tensor, key_mask=torch.ones(1, 4, dtype=torch.bool), backend="xformers")
    with pytest.raises(RuntimeError, match="'xformers' cannot run: a packed sequence is empty"):
        attention(tensor, tensor, tensor, lengths=[4, 0], key_lengths=[2, 2], backend="xformers")
    with pytest.raises(RuntimeError, match="a packed sequence is empty"):
        attention(tensor, tensor, tensor, lengths=[2, 2], key_lengths=[4, 0], backend="xformers")


def test_the_kernel_is_asked_once_whether_it_runs(stand_in):
    asked = []

    def unbuilt(query, key, value, **_):
        asked.append(query.shape[-1])
        raise NotImplementedError("No operator found for `memory_efficient_attention_forward`")

    with torch.inference_mode():
        assert trial.refusal(xformers_kernel.attend, torch.empty(72)) is None
    stand_in.memory_efficient_attention = unbuilt
    for _ in range(2):
        reason = trial.refusal(xformers_kernel.attend, torch.empty(72, dtype=torch.float16))
        assert reason.startswith("it refuses torch.float16 with head width 72 on cpu (No operator found for `mem")
        assert "\n" not in reason
    assert asked == [72]


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
def test_the_kernel_is_asked_anew_where_torch_must_be_deterministic(stand_in):
    """FlashAttention's backward pass in xformers is not deterministic."""

    def only_without(*arguments, **options):
        if torch.are_deterministic_algorithms_enabled():
            raise NotImplementedError("operator is non-deterministic")
        return memory_efficient_attention(*arguments, **options)

    stand_in.memory_efficient_attention = only_without
    tensor = torch.empty(64)
    assert "64, deterministic, on cpu" in trial.refusal(xformers_kernel.attend, tensor)
    torch.use_deterministic_algorithms(False)
    assert trial.refusal(xformers_kernel.attend, tensor) is None


@pytest.mark.usefixtures("stand_in")
def test_layers_share_the_bias_of_their_lengths(monkeypatch):
    made, make = [], BlockDiagonalMask.from_seqlens

    def counted(*arguments, **options):
        made.append(arguments)
        return make(*arguments, **options)

    monkeypatch.setattr(BlockDiagonalMask, "from_seqlens", counted)
    tensor, lengths = torch.randn(1, 4, 1, 8), Lengths([1, 3])
    for _ in range(3):
        attention(tensor, tensor, tensor, lengths=lengths)
    assert made == [([1, 3], [1, 3])]
    causal = attention(tensor, tensor, tensor, lengths=lengths, causal=True)
    torch.testing.assert_close(
        causal, attention(tensor, tensor, tensor, lengths=lengths, causal=True, backend="sdpa"), atol=1e-5, rtol=0
    )
    attention(tensor, tensor, tensor, lengths=lengths, key_lengths=[2, 2])
    assert made[1:] == [([1, 3], [1, 3]), ([1, 3], [2, 2])]

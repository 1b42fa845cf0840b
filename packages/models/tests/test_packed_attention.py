"""A language model with a packed kernel against the same model with SDPA, using stand-ins for the kernels."""

import json
import logging
import sys
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.attention import varlen
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface

from foveal.connectors import MlpProjector
from foveal.core import varlen_kernel, xformers_kernel
from foveal.encoders import VisionTransformer
from foveal.models import (
    DeepStackMerge,
    DeepStackPlan,
    Turn,
    VisionLanguageModel,
    byte_tokenizer,
    generate,
    llama,
    opt,
    qwen3,
)
from foveal.models.language_models.packed_attention import NAMES, use_attention

TINY = {"width": 32, "depth": 3, "heads": 4, "mlp_width": 48, "context": 400}
LENGTHS = (4, 9, 6)


class LowerTriangularMask:
    """Query i sees keys 0..i."""


@dataclass(frozen=True)
class BlockDiagonalMask:
    """Tokens see the tokens of their own sequence."""

    lengths: list[int]
    causal: bool = False

    @classmethod
    def from_seqlens(cls, q_seqlen, kv_seqlen=None, *, device=None):
        assert q_seqlen == kv_seqlen
        return cls(q_seqlen)

    def make_causal(self):
        return replace(self, causal=True)


@pytest.fixture
def calls(monkeypatch):
    """The kernel's calls: lengths of the packed sequences, or None, and the shape of the keys."""
    made = []

    def memory_efficient_attention(query, key, value, attn_bias=None, p=0.0, scale=None):
        assert query.shape == key.shape == value.shape  # the kernel does not repeat heads
        assert query.dtype == key.dtype == value.dtype  # and refuses a mixture
        packed = isinstance(attn_bias, BlockDiagonalMask)
        assert packed or isinstance(attn_bias, LowerTriangularMask)
        made.append((attn_bias.lengths if packed else None, tuple(key.shape)))
        parts = attn_bias.lengths if packed else [query.shape[1]]
        if packed:
            assert len(query) == 1
            assert attn_bias.causal
        out = []
        for q, k, v in zip(*(each.split(parts, dim=1) for each in (query, key, value)), strict=True):
            scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
            scores = scores + torch.full_like(scores, -torch.inf).triu(1)
            out.append(torch.einsum("bhqk,bkhd->bqhd", scores.softmax(dim=-1), v))
        return torch.cat(out, dim=1)

    modules = {name: ModuleType(name) for name in ("xformers", "xformers.ops", "xformers.ops.fmha")}
    biases = ModuleType("xformers.ops.fmha.attn_bias")
    biases.LowerTriangularMask, biases.BlockDiagonalMask = LowerTriangularMask, BlockDiagonalMask
    modules["xformers"].__spec__ = ModuleSpec("xformers", None)
    modules["xformers.ops"].memory_efficient_attention = memory_efficient_attention
    for name, module in (modules | {biases.__name__: biases}).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(xformers_kernel, "obstacle", lambda _: None)
    return made


def grouped(_vocabulary, **_sizes):
    """Four query heads that share two heads of keys and values."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=60,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )


def enlarged(model):
    """Weights large enough to reveal attention to a wrong token."""
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    return model.eval()


@pytest.fixture(params=[llama, qwen3, opt, grouped])
def language_model(request):
    return enlarged(request.param(60, **TINY))


def padded(side):
    rows = [torch.randint(60, (length,)) for length in LENGTHS]
    pad = nn.utils.rnn.pad_sequence
    mask = pad([torch.ones(length) for length in LENGTHS], batch_first=True, padding_side=side)
    return pad(rows, batch_first=True, padding_side=side), mask.long()


def with_kind(model, kind, *arguments, **options):
    use_attention(model, kind)
    return model(*arguments, **options)


def close(ours, reference):
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batch(language_model, calls, side):
    ids, mask = padded(side)
    real = mask.bool()
    options = {"attention_mask": mask, "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0), "use_cache": False}
    reference = with_kind(language_model, "sdpa", ids, **options).logits
    assert not calls
    ours = with_kind(language_model, "xformers", ids, **options).logits
    close(ours[real], reference[real])
    assert calls == [(list(LENGTHS), (1, sum(LENGTHS), 4, 8))] * 3  # padding is not computed
    other = language_model(torch.where(real, ids, 59 - ids), **options).logits
    assert torch.equal(other[real], ours[real])
    assert bool(torch.isfinite(other).all())


@torch.no_grad()
def test_rows_without_padding_are_one_dense_call(language_model, calls):
    ids, _ = padded("right")
    reference = with_kind(language_model, "sdpa", ids, use_cache=False).logits
    close(with_kind(language_model, "xformers", ids, use_cache=False).logits, reference)
    close(language_model(ids, attention_mask=torch.ones_like(ids), use_cache=False).logits, reference)
    assert calls == [(None, (3, 9, 4, 8))] * 6


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_goes_wrong_without_the_mask_function(calls, monkeypatch, side):
    """Why the mask function is needed: transformers silently drops the mask."""
    model = enlarged(llama(60, **TINY))
    ids, mask = padded(side)
    reference = with_kind(model, "sdpa", ids, attention_mask=mask).logits
    use_attention(model, "xformers")
    with monkeypatch.context() as patch:
        patch.delitem(AttentionMaskInterface._global_mapping, NAMES["xformers"])
        with pytest.raises(RuntimeError, match="no mask function made a mask for foveal_xformers"):
            model(ids, attention_mask=mask)
        patch.setitem(AttentionInterface._global_mapping, NAMES["xformers"], AttentionInterface._global_mapping["sdpa"])
        if side == "left":
            wrong = model(ids, attention_mask=mask).logits
            assert (wrong - reference)[mask.bool()].abs().max() > 0.05
    close(model(ids, attention_mask=mask).logits[mask.bool()], reference[mask.bool()])
    assert calls


@torch.no_grad()
@pytest.mark.parametrize("language_model", [llama, qwen3, grouped], indirect=True)  # to OPT all is one sequence
def test_packed_sequences(language_model, calls):
    rows = [torch.randint(60, (length,)) for length in LENGTHS]
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    packed, options = torch.cat(rows)[None], {"position_ids": positions, "use_cache": False}
    reference = with_kind(language_model, "sdpa", packed, **options).logits
    ours = with_kind(language_model, "xformers", packed, **options).logits
    close(ours, reference)
    assert calls == [(list(LENGTHS), (1, sum(LENGTHS), 4, 8))] * 3
    for row, logits in zip(rows, ours[0].split(LENGTHS), strict=True):
        close(logits, language_model(row[None], use_cache=False).logits[0])
    packed[0, : LENGTHS[0]] = 59 - packed[0, : LENGTHS[0]]
    changed = language_model(packed, **options).logits
    assert torch.equal(changed[0, LENGTHS[0] :], ours[0, LENGTHS[0] :])
    assert not torch.equal(changed[0, : LENGTHS[0]], ours[0, : LENGTHS[0]])


@torch.no_grad()
def test_rows_of_packed_sequences(calls):
    model = enlarged(llama(60, **TINY))
    ids = torch.randint(60, (2, 7))
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]])
    reference = with_kind(model, "sdpa", ids, position_ids=positions, use_cache=False).logits
    close(with_kind(model, "xformers", ids, position_ids=positions, use_cache=False).logits, reference)
    assert calls[0] == ([3, 4, 7], (1, 14, 4, 8))


@torch.no_grad()
def test_steps_behind_a_cache(language_model, calls):
    """A chunk of three, then single tokens, give the same as the whole prompt at once."""
    ids, mask = padded("left")
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    use_attention(language_model, "xformers")
    whole = language_model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    calls.clear()
    cache, parts = None, []
    for start, end in ((0, 4), (4, 7), (7, 8), (8, 9)):
        output = language_model(
            ids[:, start:end],
            attention_mask=mask[:, :end],
            position_ids=positions[:, start:end],
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        parts.append(output.logits)
    close(torch.cat(parts, dim=1)[mask.bool()], whole[mask.bool()])
    # Four of the longest row's nine tokens and one of the six-token row; the shortest row begins later.
    assert calls == [([4, 1], (1, 5, 4, 8))] * 3


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_greedy_generation(language_model, calls, cache):
    ids, mask = padded("left")
    options = {
        "attention_mask": mask,
        "max_new_tokens": 8,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 0,
        "cache_implementation": cache,
    }
    use_attention(language_model, "sdpa")
    reference = language_model.generate(ids, **options)
    use_attention(language_model, "xformers")
    assert torch.equal(language_model.generate(ids, **options), reference)
    # From the beginning, a static cache has more keys than the prompt has tokens.
    assert len(calls) == (3 if cache == "dynamic" else 0)


def gradients(model, kind, ids, mask):
    model.zero_grad()
    output = with_kind(model, kind, ids, attention_mask=mask, use_cache=False).logits
    output[mask.bool()].square().mean().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_gradients(calls, reentrant):
    model = enlarged(grouped(60)).train()
    ids, mask = padded("right")
    reference = gradients(model, "sdpa", ids, mask)
    if reentrant is not None:
        model.activation_checkpointing_enable({"use_reentrant": reentrant})
        model.enable_input_require_grads()
    for name, gradient in gradients(model, "xformers", ids, mask).items():
        torch.testing.assert_close(gradient, reference[name], atol=1e-5, rtol=1e-4)
    assert len(calls) == (3 if reentrant is None else 6)


@torch.no_grad()
@pytest.mark.usefixtures("calls")
def test_autocast_gives_the_kernel_its_dtype(monkeypatch):
    """Rotated queries and keys are float32 there, values are not."""
    model = enlarged(llama(60, **TINY))
    ids, mask = padded("right")
    exact = with_kind(model, "sdpa", ids, attention_mask=mask).logits[mask.bool()]
    dtypes = set()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = with_kind(model, "sdpa", ids, attention_mask=mask).logits[mask.bool()]
        use_attention(model, "xformers")
        monkeypatch.setattr(xformers_kernel, "obstacle", lambda tensor: dtypes.add(tensor.dtype))
        ours = model(ids, attention_mask=mask).logits[mask.bool()]
    assert dtypes == {torch.bfloat16}
    assert (ours - exact).abs().mean() < 1.5 * (rounded - exact).abs().mean()


def test_deepstack(calls):
    """Stacks into decoder layers, their gradients and an answer."""
    model = enlarged(
        VisionLanguageModel(
            VisionTransformer(24, 2, 2, 32, 8, 16, backend="sdpa"),
            MlpProjector,
            llama(260, **{**TINY, "depth": 5}),
            byte_tokenizer(),
            DeepStackPlan(16),
            merge=lambda width: DeepStackMerge(width),
            system="",
            max_length=400,
        )
    )
    asked = [([], "Hello, who is there?"), ([Image.new("RGB", (60, 15), "teal")], "<image>\nWhat?")]
    samples = [model.processor.encode_prompt(pictures, [Turn("user", text)]) for pictures, text in asked]

    def everything(kind):
        use_attention(model.language_model, kind)
        batch = model.processor.collate(samples, side="left")
        model.zero_grad()
        logits = model(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes)[batch.attention_mask]
        logits.square().mean().backward()
        return logits, model.connector.layers[0].weight.grad.clone(), generate(model, batch, max_new_tokens=6)

    logits, gradient, answers = everything("sdpa")
    assert not calls
    ours, own_gradient, own_answers = everything("xformers")
    assert len(calls) == 10
    torch.testing.assert_close(ours, logits, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(own_gradient, gradient, atol=1e-4, rtol=1e-4)
    assert own_answers == answers


@torch.no_grad()
def test_a_sliding_window_is_refused_as_soon_as_it_matters(calls):
    model = enlarged(
        Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=60,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                use_sliding_window=True,
                sliding_window=6,
                max_window_layers=1,
            )
        )
    )
    ids = torch.randint(60, (1, 6))
    reference = with_kind(model, "sdpa", ids, use_cache=False).logits
    close(with_kind(model, "xformers", ids, use_cache=False).logits, reference)
    assert len(calls) == 2
    with pytest.raises(ValueError, match=r"something else at 7 tokens \(a sliding window"):
        model(torch.randint(60, (1, 7)), use_cache=False)


@torch.no_grad()
@pytest.mark.usefixtures("calls")
def test_what_cannot_be_computed_is_refused():
    model = enlarged(llama(60, **TINY))
    use_attention(model, "xformers")
    ids = torch.randint(60, (2, 5))
    with pytest.raises(ValueError, match="2 x 5 tokens is all padding"):
        model(ids, attention_mask=torch.zeros_like(ids))
    model.config.is_causal = False
    with pytest.raises(ValueError, match="attention in both directions"):
        model(ids)
    model.config.is_causal = True
    with pytest.raises(ValueError, match="has no softcap, which the language model asks for"):
        model(ids, softcap=30.0)
    model.train()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    with pytest.raises(ValueError, match=r"has no dropout \(0.1\)"):
        model(ids)


def test_where_it_cannot_run(monkeypatch):
    model = llama(60, **TINY)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    reason = "(the package xformers is not installed|it runs on CUDA devices only).*; use sdpa"
    with pytest.raises(RuntimeError, match=f"attention 'xformers' cannot run: {reason}"):
        use_attention(model, "xformers")
    assert model.config._attn_implementation == "sdpa"
    with pytest.raises(RuntimeError, match=r"attention 'varlen' cannot run: it runs on CUDA devices only.*; use sdpa"):
        use_attention(model, "varlen")
    with pytest.raises(ValueError, match="unknown attention 'flash': sdpa, xformers, varlen, eager"):
        use_attention(model, "flash")


@torch.no_grad()
def test_the_kernel_is_asked_before_the_first_pass(calls, monkeypatch):
    model = llama(60, **TINY)
    use_attention(model, "xformers")
    monkeypatch.setattr(xformers_kernel, "obstacle", lambda tensor: f"it takes no {tensor.dtype} on this device")
    with pytest.raises(RuntimeError, match=r"'xformers' cannot run: it takes no torch\.float32 on this device"):
        model(torch.randint(60, (1, 3)))
    assert not calls


def test_on_the_meta_device_the_attention_stays_as_it_is():
    with torch.device("meta"):
        model = llama(60, **TINY)
    use_attention(model, "xformers")
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.usefixtures("calls")
def test_a_saved_model_does_not_name_it(tmp_path):
    """The kernel depends on the machine: the folder opens on one without xformers."""
    model = llama(60, **TINY)
    use_attention(model, "xformers")
    model.save_pretrained(tmp_path)
    assert NAMES["xformers"] not in json.dumps(json.loads((tmp_path / "config.json").read_text(encoding="utf-8")))
    assert LlamaForCausalLM.from_pretrained(tmp_path).config._attn_implementation == "sdpa"


@torch.no_grad()
@pytest.mark.usefixtures("calls")
def test_kinds_can_be_changed_again():
    model = enlarged(llama(60, **TINY))
    ids, mask = padded("left")
    outputs = [
        with_kind(model, kind, ids, attention_mask=mask).logits[mask.bool()]
        for kind in ("sdpa", "xformers", "eager", "xformers", "sdpa")
    ]
    for output in outputs[1:]:
        close(output, outputs[0])
    assert sum(key == NAMES["xformers"] for key in AttentionInterface().valid_keys()) == 1


@pytest.fixture
def varlen_calls(monkeypatch):
    """Calls of torch's kernel: where sequences begin, and the shape of the keys."""
    made = []

    def varlen_attn(query, key, value, starts, key_starts, longest, longest_key, *, scale, window_size, enable_gqa):
        assert window_size == (-1, 0)
        assert starts is key_starts
        assert longest == longest_key == starts.diff().max()
        made.append((starts, tuple(key.shape)))
        lengths, groups = starts.diff().tolist(), query.shape[1] // key.shape[1]
        assert enable_gqa == (groups > 1)
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
        out = []
        for q, k, v in zip(*(each.split(lengths) for each in (query, key, value)), strict=True):
            scores = torch.einsum("qhd,khd->hqk", q, k) * scale
            scores = scores + torch.full_like(scores, -torch.inf).triu(1)
            out.append(torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), v))
        return torch.cat(out)

    monkeypatch.setattr(varlen, "varlen_attn", varlen_attn)
    monkeypatch.setattr(varlen_kernel, "obstacle", lambda _: None)
    return made


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_varlen_on_padded_and_whole_rows(language_model, varlen_calls, side):
    ids, mask = padded(side)
    real = mask.bool()
    options = {"attention_mask": mask, "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0), "use_cache": False}
    reference = with_kind(language_model, "sdpa", ids, **options).logits
    whole = language_model(ids, use_cache=False).logits
    close(with_kind(language_model, "varlen", ids, **options).logits[real], reference[real])
    close(language_model(ids, use_cache=False).logits, whole)
    key_heads = getattr(language_model.config, "num_key_value_heads", 4)
    assert [shape for _, shape in varlen_calls] == [(sum(LENGTHS), key_heads, 8)] * 3 + [(27, key_heads, 8)] * 3
    for layers in (varlen_calls[:3], varlen_calls[3:]):  # passed once per batch, not once per layer
        assert all(starts is layers[0][0] for starts, _ in layers)


@torch.no_grad()
def test_varlen_on_packed_sequences(varlen_calls):
    model = enlarged(llama(60, **TINY))
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    packed, options = torch.randint(60, positions.shape), {"position_ids": positions, "use_cache": False}
    reference = with_kind(model, "sdpa", packed, **options).logits
    close(with_kind(model, "varlen", packed, **options).logits, reference)
    assert varlen_calls[0][0].tolist() == [0, 4, 13, 19]


@pytest.mark.usefixtures("varlen_calls")
@pytest.mark.parametrize("reentrant", [None, False, True])
def test_gradients_through_varlen(reentrant):
    model = enlarged(grouped(60)).train()
    ids, mask = padded("right")
    reference = gradients(model, "sdpa", ids, mask)
    if reentrant is not None:
        model.activation_checkpointing_enable({"use_reentrant": reentrant})
        model.enable_input_require_grads()
    for name, gradient in gradients(model, "varlen", ids, mask).items():
        torch.testing.assert_close(gradient, reference[name], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_one_bias_for_all_layers(calls, monkeypatch):
    made, make = [], BlockDiagonalMask.from_seqlens
    monkeypatch.setattr(
        BlockDiagonalMask, "from_seqlens", lambda *lengths, **options: made.append(1) or make(*lengths, **options)
    )
    ids, mask = padded("right")
    with_kind(enlarged(llama(60, **TINY)), "xformers", ids, attention_mask=mask)
    assert (len(calls), len(made)) == (3, 1)


@pytest.mark.usefixtures("calls", "varlen_calls")
def test_the_choice_is_logged(caplog):
    caplog.set_level(logging.INFO, logger="foveal.models")
    model = llama(60, **TINY)
    for kind in (None, "varlen", "eager"):
        use_attention(model, kind)
    with torch.device("meta"):
        use_attention(llama(60, **TINY), None)
    assert caplog.messages == [
        f"language model LlamaForCausalLM: attention {kind}" for kind in ("sdpa", "varlen", "eager")
    ]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["xformers", "varlen"])
def test_a_packed_kernel_agrees_with_sdpa(kind):
    model = grouped(60).to("cuda", torch.bfloat16).train()
    ids, mask = (each.cuda() for each in padded("right"))
    reference, ours = (gradients(model, each, ids, mask) for each in ("sdpa", kind))
    for name, gradient in ours.items():
        scale = reference[name].abs().max().item()
        torch.testing.assert_close(gradient, reference[name], atol=0.05 * scale, rtol=0.05)

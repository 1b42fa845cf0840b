"""Samples packed into rows against the same samples alone: logits, losses and gradients; no sample sees another."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from foveal.connectors import MlpProjector
from foveal.core import attention, xformers_kernel
from foveal.encoders import VisionTransformer
from foveal.models import (
    IGNORE_INDEX,
    AnyResMerge,
    AnyResPlan,
    DeepStackMerge,
    DeepStackPlan,
    PadToSquare,
    Sample,
    Turn,
    VisionLanguageModel,
    byte_tokenizer,
    generate,
    llama,
    opt,
    qwen3,
)
from foveal.models.language_models.packed_attention import use_attention
from foveal.models.language_models.packed_rows import FAMILIES as TESTED
from foveal.models.lora import Lora, add_lora
from foveal.models.prompts.packed_rows import collate_rows

SIZES = {"width": 32, "depth": 5, "heads": 4, "mlp_width": 48, "context": 400}
SHAPE = {
    "vocab_size": 260,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 400,
}
LENGTH = 230
FAMILIES = {
    "llama": lambda: llama(260, **SIZES),
    "llama, shared heads": lambda: llama(260, key_heads=2, **SIZES),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=None)),
    "mistral, sliding window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=20)),
    "opt": lambda: opt(260, **SIZES),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen2, sliding window": lambda: Qwen2ForCausalLM(
        Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=20, max_window_layers=2)
    ),
    "qwen3": lambda: qwen3(260, **SIZES),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**SHAPE, pad_token_id=None)),
    "phi3, sliding window": lambda: Phi3ForCausalLM(Phi3Config(**SHAPE, pad_token_id=None, sliding_window=20)),
    "granite": lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, embedding_multiplier=3.0, logits_scaling=2.0)),
    "gemma3, sliding window": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, head_dim=8, sliding_window=20)),
}
METHODS = {
    "square": (lambda: PadToSquare(16), None),
    "anyres": (lambda: AnyResPlan(16), AnyResMerge),
    "deepstack": (lambda: DeepStackPlan(16), DeepStackMerge),
}


def build(family="llama", method="deepstack"):
    """A model in double precision, whose weights are large enough to reveal attention to a wrong token."""
    torch.manual_seed(0)
    plan, merge = METHODS[method]
    model = VisionLanguageModel(
        VisionTransformer(24, 2, 2, 32, 8, 16, backend="sdpa"),
        MlpProjector,
        FAMILIES[family](),
        byte_tokenizer(),
        plan(),
        merge=merge,
        system="",
        max_length=200,
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    return model.double().eval()


def picture(width, height, color="teal"):
    return Image.new("RGB", (width, height), color)


def rows_of(model):
    """Two rows with pictures and one of text only, none of them full."""
    conversations = [
        ([picture(60, 15)], "<image>\nWhat is it?", "A wide one"),
        ([], "Hello?", "Who is there?"),
        ([picture(20, 20, "red"), picture(15, 50)], "<image><image>\nWhich?", "Both"),
        ([], "Bye", "See you"),
        ([picture(20, 20, "navy")], "<image>\nAnd this?", "Blue"),
        ([], "Again?", "No, this is enough."),
        ([], "What is OCR?", "Reading"),
    ]
    samples = [
        model.processor.encode(pictures, [Turn("user", question), Turn("assistant", answer)], key=question)
        for pictures, question, answer in conversations
    ]
    return [samples[:2], samples[2:5], samples[5:]]


def logits_of(model, batch):
    return model(batch.input_ids, batch.views, batch.attention_mask, None, batch.sizes, batch.position_ids)


def split(model, rows, logits):
    """The logits of every sample."""
    lengths = [[len(sample.input_ids) for sample in row] for row in rows]
    return [part for row, own in zip(logits, lengths, strict=True) for part in row[: sum(own)].split(own)]


def packed_logits(model, rows):
    return split(model, rows, logits_of(model, model.processor.collate_packed(rows, LENGTH)))


def close(ours, reference, tolerance=1e-9):
    torch.testing.assert_close(ours, reference, atol=tolerance, rtol=0)


@pytest.fixture
def kernel(monkeypatch):
    """The lengths that were handed to xformers' kernel, which torch stands in for."""
    handed = []

    def attend(query, key, value, lengths, key_lengths, causal, scale):
        handed.append(lengths)
        return attention(query, key, value, lengths=lengths, causal=causal, scale=scale, backend="sdpa")

    monkeypatch.setattr(xformers_kernel, "obstacle", lambda _: None)
    monkeypatch.setattr(xformers_kernel, "attend", attend)
    return handed


@torch.no_grad()
@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("kind", ["sdpa", "eager", "xformers"])
@pytest.mark.parametrize("family", [name for name in FAMILIES if "window" not in name])
def test_packed_samples_are_as_alone_and_do_not_see_each_other(family, kind):
    model = build(family)
    use_attention(model.language_model, kind)
    rows = rows_of(model)
    if family == "opt" and kind == "xformers":
        with pytest.raises(
            ValueError, match="packed for OPTForCausalLM with the attention 'foveal_xformers': use sdpa"
        ):
            packed_logits(model, rows)
        return
    before = packed_logits(model, rows)
    samples = [sample for row in rows for sample in row]
    for sample, logits in zip(samples, before, strict=True):
        close(logits, logits_of(model, model.processor.collate([sample]))[0])
    for number, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        changed = [list(row) for row in rows]
        sample = changed[row][column]
        if sample.views:
            changed[row][column] = replace(sample, views=tuple(255 - view for view in sample.views))
        else:
            changed[row][column] = replace(sample, input_ids=(sample.input_ids + 1).clamp(max=255))
        after = packed_logits(model, changed)
        assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [
            place != number for place in range(len(before))
        ]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("family", [name for name in FAMILIES if "window" in name])
def test_a_sliding_window_is_kept_inside_samples(family, kind):
    model = build(family)
    use_attention(model.language_model, kind)
    rows = rows_of(model)
    for sample, logits in zip([sample for row in rows for sample in row], packed_logits(model, rows), strict=True):
        assert len(sample.input_ids) > 20
        close(logits, logits_of(model, model.processor.collate([sample]))[0])


@torch.no_grad()
@pytest.mark.usefixtures("kernel")
def test_a_kernel_refuses_a_window_that_is_shorter_than_a_sample():
    model = build("mistral, sliding window")
    use_attention(model.language_model, "xformers")
    with pytest.raises(ValueError, match=r"something else at 230 tokens \(a sliding window"):
        packed_logits(model, rows_of(model))


@torch.no_grad()
def test_the_kernel_gets_the_lengths_of_the_samples(kernel):
    model = build()
    use_attention(model.language_model, "xformers")
    rows = rows_of(model)
    packed_logits(model, rows)
    longest = max(len(sample.input_ids) for row in rows for sample in row)
    expected = []
    for row in rows:
        own = [len(sample.input_ids) for sample in row]
        padding = LENGTH - sum(own)
        expected += own + [longest] * (padding // longest) + [rest for rest in [padding % longest] if rest]
    assert kernel == [tuple(expected)] * SIZES["depth"]


def loss_and_gradients(model, batches):
    model.zero_grad()
    losses = [model.loss(batch) for batch in batches]
    total = sum(loss.total for loss in losses)
    total.backward()
    weights = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return total.item(), sum(loss.tokens for loss in losses), weights


@pytest.mark.parametrize("option", [None, "checkpointing", "lora"])
@pytest.mark.parametrize(
    ("family", "method"), [("llama", "square"), ("qwen3", "anyres"), ("llama", "deepstack"), ("opt", "deepstack")]
)
def test_loss_and_gradients_are_those_of_the_samples(family, method, option):
    model = build(family, method)
    if option == "checkpointing":
        model.language_model.activation_checkpointing_enable({"use_reentrant": False})
    elif option == "lora":
        pytest.importorskip("peft")
        add_lora(model, Lora(rank=2, dropout=0.0))
        model.double()
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(weight, std=0.2)
    if family != "opt":  # which has dropout
        model.train()
    rows, collate = rows_of(model), model.processor.collate
    samples = [sample for row in rows for sample in row]
    loss, tokens, gradients = loss_and_gradients(model, [model.processor.collate_packed(rows, LENGTH)])
    for batches in ([collate(samples)], [collate([sample]) for sample in samples]):
        reference = loss_and_gradients(model, batches)
        assert loss == pytest.approx(reference[0], rel=1e-6)
        assert tokens == reference[1]
        assert gradients.keys() == reference[2].keys()
        for name, gradient in gradients.items():
            # Logits are float32 in the loss.
            assert (gradient - reference[2][name]).norm() <= 1e-6 * reference[2][name].norm() + 1e-12, name


def test_rows_without_pictures_and_without_samples():
    """A part that is not used has no gradient or one of zero."""
    model = build().train()
    text = rows_of(model)[2]
    loss, tokens, gradients = loss_and_gradients(model, [model.processor.collate_packed([text, []], LENGTH)])
    reference = loss_and_gradients(model, [model.processor.collate(text)])
    assert (loss, tokens) == (pytest.approx(reference[0], rel=1e-7), reference[1])
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def test_answers_after_packed_rows():
    """The language model's attention has changed, which ordinary batches do not notice."""
    model = build()
    asked = [[Turn("user", text)] for text in ("Hello", "Who is there?")]
    prompts = [model.processor.encode_prompt([], turns) for turns in asked]
    batch = model.processor.collate(prompts, side="left")
    with torch.no_grad():
        before, answers = logits_of(model, batch), generate(model, batch, max_new_tokens=5)
        assert packed_logits(model, rows_of(model))
        assert torch.equal(logits_of(model, batch), before)
        assert generate(model, batch, max_new_tokens=5) == answers


def refused(language_model):
    model = build()
    model.language_model = language_model.double()
    with pytest.raises(ValueError, match="samples cannot be packed for") as caught:
        packed_logits(model, rows_of(model))
    return str(caught.value)


def test_what_would_leak_is_refused():
    neox = GPTNeoXConfig(
        vocab_size=260, hidden_size=32, num_hidden_layers=5, num_attention_heads=4, intermediate_size=48
    )
    known = ", ".join(TESTED)
    assert f"GPTNeoXForCausalLM: only causal models of {known} are" in refused(GPTNeoXForCausalLM(neox))
    both_ways = LlamaForCausalLM(LlamaConfig(**SHAPE))
    both_ways.config.is_causal = False
    assert "LlamaForCausalLM: only causal models" in refused(both_ways)
    embedding_gemma = Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, head_dim=8, use_bidirectional_attention=True))
    assert "Gemma3ForCausalLM: only causal models" in refused(embedding_gemma)
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert "rotary embeddings (dynamic) depend on" in refused(
        LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=rope))
    )
    long = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    phi = Phi3ForCausalLM(Phi3Config(**SHAPE, pad_token_id=None, rope_parameters=long))
    assert "rotary embeddings (longrope) depend on" in refused(phi)
    gemma = {"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}
    assert "rotary embeddings (dynamic) depend on" in refused(
        Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, head_dim=8, rope_parameters=gemma))
    )
    flash = LlamaForCausalLM(LlamaConfig(**SHAPE))
    flash.config._attn_implementation = "flash_attention_2"
    assert "with the attention 'flash_attention_2': use sdpa" in refused(flash)


def sample(number, length):
    ids = torch.arange(length) + 1000 * number
    return Sample(ids, ids.clone(), (), f"sample {number}")


@given(st.lists(st.lists(st.integers(1, 12), max_size=4), min_size=1, max_size=4).filter(any), st.integers(0, 30))
def test_rows(lengths, spare):
    length = max(sum(row) for row in lengths) + spare
    numbers = iter(range(100))
    rows = [[sample(next(numbers), tokens) for tokens in row] for row in lengths]
    batch = collate_rows(rows, length, pad_id=7)
    assert batch.input_ids.shape == batch.labels.shape == batch.position_ids.shape == (len(rows), length)
    assert batch.keys == tuple(sample.key for row in rows for sample in row)
    assert batch.attention_mask.sum(dim=1).tolist() == [sum(row) for row in lengths]
    assert (batch.input_ids[~batch.attention_mask] == 7).all()
    assert (batch.labels[~batch.attention_mask] == IGNORE_INDEX).all()
    longest = max(tokens for row in lengths for tokens in row)
    assert batch.position_ids.max() < longest
    for number, row in enumerate(rows):
        start = 0
        for each in row:
            own = slice(start, start + len(each.input_ids))
            assert torch.equal(batch.input_ids[number, own], each.input_ids)
            assert batch.position_ids[number, own].tolist() == list(range(len(each.input_ids)))
            assert batch.labels[number, start] == IGNORE_INDEX  # no target for the sample before it
            assert torch.equal(batch.labels[number, own][1:], each.labels[1:])
            start += len(each.input_ids)
        if start < length:
            assert batch.position_ids[number, start] == 0


def test_rows_that_cannot_be():
    with pytest.raises(ValueError, match="at least one sample"):
        collate_rows([[], []], 9, 0)
    with pytest.raises(ValueError, match="sample 1, sample 2: 10 tokens do not fit into a packed row of 9"):
        collate_rows([[sample(0, 9)], [sample(1, 4), sample(2, 6)]], 9, 0)

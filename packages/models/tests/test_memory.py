"""Memory from shapes, against the CPU allocator's report of the same runs with data, and against published figures."""

import copy
from functools import partial

import pytest
import torch
from PIL import Image
from torch.optim import AdamW, Muon

from foveal.connectors import MlpProjector, SpatialResampler
from foveal.core import Size
from foveal.encoders import SamViTDet, VisionTransformer, clip_vit_large_336
from foveal.models import (
    AnyResMerge,
    AnyResPlan,
    DeepStackMerge,
    DeepStackPlan,
    PadToSquare,
    Turn,
    UhdPlan,
    VaryPlan,
    VisionLanguageModel,
    byte_tokenizer,
    llama,
    opt,
    qwen3,
)
from foveal.models.estimates import few_layers
from foveal.models.estimates.cost import parameters, prompt_tokens
from foveal.models.estimates.memory import Memory, answering, fitting
from foveal.models.estimates.shape_only_layers import quantized, with_adapters

TOLERANCE = 0.15
PICTURE = Size(300, 500)
BF16 = torch.bfloat16


def small_clip():
    return VisionTransformer(96, 4, 3, 288, 8, 64, layers=(-2,))


def model(plan, connector=MlpProjector, merge=None, encoder=small_clip, language_model=llama, width=128, tokens=()):
    return VisionLanguageModel(
        encoder(),
        connector,
        language_model(300, width=width, depth=6, heads=4, mlp_width=344, context=8192),
        byte_tokenizer(tokens),
        plan,
        merge=merge,
        max_length=8000,
    )


UHD = partial(model, UhdPlan(scale=64, patch=8, max_slices=6), partial(SpatialResampler, queries=16, heads=4))
BUILDERS = {
    "LLaVA": partial(model, PadToSquare(192)),
    "UHD": UHD,
    "AnyRes": partial(model, AnyResPlan(64), merge=AnyResMerge),
    "DeepStack": partial(model, DeepStackPlan(64), merge=DeepStackMerge),
    "tied tables": partial(model, PadToSquare(128), language_model=qwen3),
    "OPT": partial(model, PadToSquare(128), language_model=opt),
    "SAM": partial(
        model,
        VaryPlan(256),
        encoder=partial(
            SamViTDet, 48, 4, 2, 16, 256, window=4, global_blocks=(1, 3), neck_width=32, downsample=(48, 64)
        ),
        tokens=("<img>", "</img>"),
    ),
}


def shapes(build):
    with torch.device("meta"):
        return build()


def batch_of(network, number, answer):
    """A batch of equal samples, or of prompts if there is no answer."""
    turns = [Turn("user", "<image>\nRead."), Turn("assistant", "b" * answer)]
    encode = network.processor.encode if answer else network.processor.encode_prompt
    sample = encode([Image.new("RGB", PICTURE)], turns if answer else turns[:1])
    return network.processor.collate([sample] * number)


def text_of(network, batch):
    return batch.input_ids.shape[1] - sum(prompt_tokens(network, [PICTURE]))


def held(network, optimizers=()):
    """Bytes of weights, and of the optimizers' states."""
    tensors = [*network.parameters(), *network.buffers()]
    for weight in network.parameters():
        state = getattr(weight, "quant_state", None)
        if state is not None:
            tensors += [state.absmax, state.code]
            tensors += [state.offset, state.state2.absmax, state.state2.code] if state.nested else []
    tensors += [module.state.SCB for module in network.modules() if type(module).__name__ == "Linear8bit"]
    for part in optimizers:
        tensors += [
            value for state in part.state.values() for value in state.values() if isinstance(value, torch.Tensor)
        ]
    stored = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(stored.values())


def allocated(run):
    """Peak bytes that the CPU's allocator handed out while `run` ran, in addition to those from before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def reads(network, batch):
    def run():
        with torch.no_grad():
            prompt = network.embed(batch.input_ids, batch.views, batch.sizes)
            network.language_model(inputs_embeds=prompt.embeddings, use_cache=True, logits_to_keep=1)

    run()  # the libraries initialise
    return run


def trains(network, batch, optimizers, mixed, accumulated=False):
    def run():
        for _ in range(2):  # gradients of the first step exist during the forward pass of the second
            with torch.autocast("cpu", dtype=BF16, enabled=mixed):
                loss = network.loss(batch).total
            if not accumulated:
                network.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()

    run()  # the optimizers create their states
    network.zero_grad()
    return run


def adamw(weights):
    """As in torch on a GPU, where all weights are updated at once."""
    return AdamW(weights, lr=1e-4, foreach=True)


def close(estimated, measured):
    assert estimated == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
@pytest.mark.parametrize("name", BUILDERS)
def test_reading_a_prompt(name, dtype, monkeypatch):
    network, shape = BUILDERS[name]().eval().to(dtype), shapes(BUILDERS[name]).to(dtype)
    batch = batch_of(network, 1, 0)
    found = answering(shape, [PICTURE], text=text_of(network, batch))
    assert found.weights == held(network)
    # On some processors oneDNN copies weights in bfloat16, which no GPU does.
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    close(found.cache + found.activations, allocated(reads(network, batch)))
    assert found.gradients == found.optimizer == 0


def test_the_cache():
    shape = shapes(BUILDERS["LLaVA"])
    length = sum(prompt_tokens(shape, [PICTURE])) + 10
    per_token = 2 * 6 * 128 * 4
    assert answering(shape, [PICTURE], text=10).cache == length * per_token
    assert answering(shape, [PICTURE], text=10, new_tokens=7, batch=3).cache == 3 * (length + 7) * per_token


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("frozen", [(), ("encoder",), ("encoder", "language_model")])
@pytest.mark.parametrize("name", ["LLaVA", "UHD"])
def test_a_training_step(name, frozen, mixed, checkpointing):
    network, shape = BUILDERS[name]().train(), shapes(BUILDERS[name])
    for each in (network, shape):
        for part in frozen:
            getattr(each, part).requires_grad_(False)
        if checkpointing:
            each.language_model.activation_checkpointing_enable({"use_reentrant": False})
    batch = batch_of(network, 2, 200)
    found = fitting(shape, [PICTURE], text=text_of(network, batch), batch=2, mixed=BF16 if mixed else None)
    check_step(found, network, batch, mixed=mixed)


@pytest.mark.parametrize("name", [name for name in BUILDERS if name not in ("LLaVA", "UHD")])
def test_a_training_step_of_other_methods(name):
    network, shape = BUILDERS[name]().train(), shapes(BUILDERS[name])
    batch = batch_of(network, 2, 200)
    check_step(fitting(shape, [PICTURE], text=text_of(network, batch), batch=2), network, batch, mixed=False)


def check_step(found, network, batch, *, mixed):
    optimizers = [adamw([weight for weight in network.parameters() if weight.requires_grad])]
    compare(found, network, optimizers, allocated(trains(network, batch, optimizers, mixed)))


def compare(found, network, optimizers, most):
    # AdamW also counts its steps, 4 bytes for each tensor.
    assert found.weights + found.optimizer == pytest.approx(held(network, optimizers), rel=1e-3)
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    assert found.gradients == sum(gradient.nbytes for gradient in gradients)
    close(found.gradients + found.activations, most)


def test_a_step_that_is_mostly_weights():
    """Short sequences and many weights: memory peaks in the optimizer's step."""
    build = partial(model, PadToSquare(64), width=1024)
    network, shape = build().train(), shapes(build)
    batch = batch_of(network, 1, 4)
    found = fitting(shape, [PICTURE], text=text_of(network, batch))
    assert found.activations == found.gradients
    check_step(found, network, batch, mixed=False)


def test_gradients_that_are_added_up():
    network, shape = BUILDERS["LLaVA"]().train(), shapes(BUILDERS["LLaVA"])
    for each in (network, shape):
        each.language_model.activation_checkpointing_enable({"use_reentrant": False})
    batch = batch_of(network, 1, 20)
    optimizers = [adamw(network.parameters())]
    found = fitting(shape, [PICTURE], text=text_of(network, batch), accumulated=True)
    compare(found, network, optimizers, allocated(trains(network, batch, optimizers, mixed=False, accumulated=True)))


def test_muon_keeps_one_state():
    network, shape = BUILDERS["UHD"]().train(), shapes(BUILDERS["UHD"])
    named = {name: weight for name, weight in network.named_parameters() if ".layers." in name and weight.ndim == 2}
    others = [weight for name, weight in network.named_parameters() if name not in named]
    optimizers = [Muon(list(named.values()), lr=1e-4), adamw(others)]
    batch = batch_of(network, 2, 200)
    found = fitting(shape, [PICTURE], text=text_of(network, batch), batch=2, muon=list(named))
    compare(found, network, optimizers, allocated(trains(network, batch, optimizers, mixed=False)))


@pytest.mark.parametrize("kind", ["nf4", "nf4-dq", "int8"])
def test_reading_with_a_quantised_decoder(kind):
    """The int8 multiplication is not imitated: only its weights are compared."""
    pytest.importorskip("bitsandbytes")
    from foveal.models.language_models.quantize import quantize

    build = partial(model, PadToSquare(192), width=512)
    network, shape = build().eval().to(BF16), quantized(shapes(build).to(BF16), kind)
    quantize(network.language_model, kind)
    batch = batch_of(network, 1, 0)
    found = answering(shape, [PICTURE], text=text_of(network, batch))
    most = allocated(reads(network, batch))
    assert found.weights == pytest.approx(held(network), rel=1e-3)
    if kind != "int8":
        close(found.cache + found.activations, most)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [None, "nf4-dq"])
@pytest.mark.parametrize(("checkpointing", "dropout"), [(False, 0.0), (False, 0.05), (True, 0.05)])
def test_training_with_adapters(kind, checkpointing, dropout):
    peft = pytest.importorskip("peft")
    pytest.importorskip("bitsandbytes")
    from foveal.models.language_models.quantize import quantize

    build = partial(model, PadToSquare(192), width=512)
    network, shape = build().train(), shapes(build)
    for each in (network, shape):
        each.encoder.to(BF16).requires_grad_(False)
        each.language_model.to(BF16).requires_grad_(False)
        if checkpointing:
            each.language_model.activation_checkpointing_enable({"use_reentrant": False})
    if kind is not None:
        quantize(network.language_model, kind)
        shape = quantized(shape, kind)
    shape = with_adapters(shape, rank=16, dropout=dropout)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = peft.LoraConfig(r=16, lora_alpha=32, lora_dropout=dropout, target_modules=targets)
    peft.inject_adapter_in_model(lora, network.language_model)
    for weight in network.parameters():
        weight.data = weight.data.float() if weight.requires_grad else weight.data
    batch = batch_of(network, 2, 200)
    found = fitting(shape, [PICTURE], text=text_of(network, batch), batch=2, mixed=BF16)
    check_step(found, network, batch, mixed=True)


def full(width, depth, mlp_width):
    """LLaVA-1.5 in 16 bits."""
    return shapes(
        lambda: VisionLanguageModel(
            clip_vit_large_336(),
            MlpProjector,
            llama(32000, width=width, depth=depth, heads=depth, mlp_width=mlp_width, context=4096),
            byte_tokenizer(),
            PadToSquare(336),
            max_length=4096,
        )
    ).to(BF16)


# The last block and norm of CLIP, which the figures include and our encoder leaves out.
CLIP_BEHIND = 12_596_224 + 2_048


@pytest.mark.parametrize(
    ("sizes", "figures"),
    [
        pytest.param((4096, 32, 11008), {1200: 5.14, 2000: 5.56, 3392: 6.29}, id="7B"),
        pytest.param((5120, 40, 13824), {1200: 8.86, 2000: 9.51, 3392: 10.65}, id="13B"),
    ],
)
def test_published_sizes_in_four_bits(sizes, figures):
    """GB of weights and cache: double-quantised nf4 in the decoder, 16 bits elsewhere."""
    shape = quantized(full(*sizes), "nf4-dq")
    for tokens, gigabytes in figures.items():
        found = answering(shape, [], text=tokens)
        assert (found.weights + 2 * CLIP_BEHIND + found.cache) / 1e9 == pytest.approx(gigabytes, abs=0.01)


@pytest.mark.parametrize(
    ("sizes", "visual", "limit"),
    [
        pytest.param((4096, 32, 11008), 2880, 7.4, id="7B on 8 GB"),
        pytest.param((5120, 40, 13824), 1008, 11.0, id="13B on 12 GB"),
    ],
)
def test_what_small_cards_can_read(sizes, visual, limit):
    """The visual tokens count as text here, in addition to 64 text tokens and an answer of 128."""
    found = answering(quantized(full(*sizes), "nf4-dq"), [Size(336, 336)], text=visual - 576 + 64, new_tokens=128)
    assert found.total / 1e9 <= limit


def test_a_sharded_model_is_divided_but_for_connector_and_gathered_layers():
    shape = shapes(BUILDERS["LLaVA"])
    one, four = (fitting(shape, [PICTURE], text=50, mixed=BF16, ranks=ranks) for ranks in (1, 4))
    connector = 4 * parameters(shape).connector
    for name in ("gradients", "optimizer"):
        factor = 2 if name == "optimizer" else 1
        divided = (getattr(one, name) - factor * connector) / 4 + factor * connector
        assert getattr(four, name) == pytest.approx(divided, rel=1e-3)
    layer = 4 * 128**2 + 3 * 128 * 344 + 2 * 128
    gathered = 2 * (2 * layer + 2 * 300 * 128 + 128)
    assert four.weights == pytest.approx((one.weights - connector) / 4 + connector + gathered, rel=1e-3)
    assert four.activations < one.activations  # no copies of all weights in bf16


def test_a_model_stays_as_it_was():
    shape = shapes(BUILDERS["UHD"])
    shape.encoder.requires_grad_(False)
    before = copy.deepcopy(shape.state_dict())
    learning = [weight.requires_grad for weight in shape.parameters()]
    quantized(shape, "nf4"), with_adapters(shape, rank=4, dropout=0.0), fitting(shape, [PICTURE], text=5)
    after = shape.state_dict()
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in before.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in after.items()
    }
    assert all(tensor.is_meta for tensor in after.values())
    assert [weight.requires_grad for weight in shape.parameters()] == learning
    assert all(weight.grad is None for weight in shape.parameters())


def test_a_training_of_nothing_is_refused():
    shape = shapes(BUILDERS["LLaVA"]).requires_grad_(False)
    with pytest.raises(ValueError, match="nothing in the model is trained"):
        fitting(shape, [PICTURE], text=5)


def test_the_total():
    assert Memory(weights=1, cache=20, gradients=300, optimizer=4000, activations=50000).total == 54321


def whole(monkeypatch, estimate):
    """The estimate with all layers run."""
    with monkeypatch.context() as patch:
        patch.setattr("foveal.models.estimates.few_layers.RUN", 1000)
        return estimate()


def deep(family, vocabulary, *, depth, **sizes):
    return family(vocabulary, depth=depth + 5, **sizes)


FULLEST = {
    "views": ([PICTURE] * 6, 5),
    "logits": ([(20, 20)], 900),
}


@pytest.mark.parametrize("samples", FULLEST.values(), ids=FULLEST)
@pytest.mark.parametrize(
    ("frozen", "options", "checkpointing"),
    [
        ((), {}, False),
        ((), {"mixed": BF16}, True),
        ((), {"mixed": BF16, "ranks": 4}, False),
        (("encoder",), {"mixed": BF16, "accumulated": True}, False),
        (("encoder",), {"mixed": BF16, "accumulated": True}, True),
        (("encoder", "connector"), {}, True),
        (("encoder", "language_model"), {"mixed": BF16}, False),
    ],
)
def test_a_few_layers_tell_what_many_take(monkeypatch, frozen, options, checkpointing, samples):
    """To the byte, wherever the fullest moment is."""
    shape = shapes(partial(model, PadToSquare(64), language_model=partial(deep, llama)))
    for name in frozen:
        getattr(shape, name).requires_grad_(False)
    if checkpointing:
        shape.language_model.activation_checkpointing_enable({"use_reentrant": False})
    pictures, text = samples
    compare_with_all(monkeypatch, partial(fitting, shape, pictures, text=text, batch=2, **options))


@pytest.mark.parametrize("family", [llama, qwen3, opt])
def test_a_few_layers_of_other_kinds(monkeypatch, family):
    shape = shapes(partial(model, PadToSquare(64), language_model=partial(deep, family)))
    compare_with_all(monkeypatch, partial(answering, shape, [PICTURE], text=30, new_tokens=7, batch=3))
    compare_with_all(monkeypatch, partial(answering, quantized(shape, "nf4"), [PICTURE], text=30))
    adapted = with_adapters(quantized(shape.bfloat16(), "nf4-dq"), rank=4, dropout=0.1)
    compare_with_all(monkeypatch, partial(fitting, adapted, [PICTURE], text=30, mixed=BF16))


def compare_with_all(monkeypatch, estimate):
    ran = []
    right = few_layers.Phases.peak
    with monkeypatch.context() as patch:
        patch.setattr(few_layers.Phases, "peak", lambda self, left_out: ran.append(left_out) or right(self, left_out))
        found = estimate()
        patch.setattr(few_layers, "RUN", 1000)
        assert estimate() == found
    assert ran == [6, 0]


def test_layers_that_differ_are_all_run():
    shape = shapes(partial(model, PadToSquare(64), language_model=partial(deep, llama)))
    with few_layers.few_layers(shape) as left_out:
        assert left_out == 6
        assert len(shape.language_model.model.layers) == few_layers.RUN
    assert len(shape.language_model.model.layers) == 11
    shape.language_model.model.layers[8].requires_grad_(False)
    with few_layers.few_layers(shape) as left_out:
        assert left_out == 0
        assert len(shape.language_model.model.layers) == 11


def waste(hidden):
    torch.cat([hidden] * 99)


def test_layers_that_look_equal_and_are_not(monkeypatch):
    shape = shapes(partial(model, PadToSquare(64), language_model=partial(deep, llama)))
    estimate = partial(answering, shape, [PICTURE], text=30)
    shape.language_model.model.layers[3].register_forward_pre_hook(lambda _, passed: waste(passed[0]))
    with monkeypatch.context() as patch:
        patch.setattr(few_layers, "RUN", 1000)
        found = estimate()
    assert estimate() == found

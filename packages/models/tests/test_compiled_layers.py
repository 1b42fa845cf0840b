"""Decoder layers through `torch.compile` against the same layers without it."""

import os
import shutil

import pytest
import torch
from PIL import Image
from torch._dynamo.utils import counters

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import DeepStackMerge, DeepStackPlan, Turn, VisionLanguageModel, byte_tokenizer, generate, llama, opt
from foveal.models.language_models.compiled_layers import compile_layers

compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler"
)


@pytest.fixture
def graphs():
    """The number of graphs that were compiled so far."""
    torch.compiler.reset()
    counters.clear()
    yield lambda: counters["stats"]["unique_graphs"]
    torch.compiler.reset()


def build(family, checkpointing=False):
    torch.manual_seed(0)
    model = VisionLanguageModel(
        VisionTransformer(24, 2, 2, 32, 8, 16, backend="sdpa"),
        MlpProjector,
        family(260, width=32, depth=6, heads=4, mlp_width=48, context=400),
        byte_tokenizer(),
        DeepStackPlan(16),
        merge=DeepStackMerge,
        system="",
        max_length=200,
    )
    if checkpointing:
        model.language_model.activation_checkpointing_enable({"use_reentrant": False})
    for module in model.modules():  # OPT has dropout
        if hasattr(module, "dropout"):
            module.dropout = 0.0
    return model.double().train()


def samples(model, texts):
    picture = Image.new("RGB", (60, 15), "teal")
    return [
        model.processor.encode([picture], [Turn("user", f"<image>\n{text}"), Turn("assistant", text * 2)], key=text)
        for text in texts
    ]


def loss_and_gradients(model, batch):
    model.zero_grad()
    loss = model.loss(batch)
    loss.total.backward()
    return loss.total.item(), {name: weight.grad.clone() for name, weight in model.named_parameters()}


@compiler
@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", [llama, opt])
def test_compiled_layers_compute_the_same(family, checkpointing, graphs):
    model = build(family, checkpointing)
    collate = model.processor.collate_packed
    short, long = samples(model, ["Yes", "No", "Who?"]), samples(model, ["A longer text", "And another one"])
    batches = [collate([short, long], 200), collate([long, short[::-1]], 200), collate([[*long, short[0]], short], 200)]
    batches.append(model.processor.collate(short))
    expected = [loss_and_gradients(model, batch) for batch in batches]
    compile_layers(model.language_model)
    layers = model.language_model.get_decoder().layers
    assert ["forward" in vars(layer) for layer in layers] == [True] * 5 + [False]
    numbers = []
    for batch, (loss, gradients) in zip(batches, expected, strict=True):
        ours, own = loss_and_gradients(model, batch)
        assert ours == pytest.approx(loss, rel=1e-6)
        for name, gradient in own.items():
            assert (gradient - gradients[name]).norm() <= 1e-6 * gradients[name].norm() + 1e-12, name
        numbers.append(graphs())
    assert numbers[0] > 0
    assert numbers[1] == numbers[2] == numbers[0]  # other lengths in rows of the same length, other targets


@compiler
@pytest.mark.slow
def test_answers_are_not_compiled(graphs):
    model = build(llama).eval()
    prompts = [model.processor.encode_prompt([], [Turn("user", text)]) for text in ("Hello", "Who is there?")]
    batch = model.processor.collate(prompts, side="left")
    answers = generate(model, batch, max_new_tokens=5)
    compile_layers(model.language_model)
    compile_layers(model.language_model)  # a second fit
    assert generate(model, batch, max_new_tokens=5) == answers
    assert graphs() == 0


def test_without_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match=r"there is no no-such-compiler: install it, name another one in .* CXX"):
        compile_layers(build(llama).language_model)

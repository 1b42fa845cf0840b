"""Decoding with a static cache: the same tokens as plain decoding, in steps that a CUDA graph can hold."""

import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from foveal.connectors import MlpProjector
from foveal.encoders import VisionTransformer
from foveal.models import (
    DeepStackMerge,
    DeepStackPlan,
    PadToSquare,
    Turn,
    VisionLanguageModel,
    byte_tokenizer,
    generate,
    llama,
    opt,
    qwen3,
)
from foveal.models.generation import cuda_graphs
from foveal.models.generation import generate as generation
from foveal.models.generation.cuda_graphs import EAGER_STEPS, Steps, graphs_obstacle
from foveal.models.language_models.packed_attention import use_attention
from foveal.models.language_models.quantize import quantize
from foveal.models.lora import Lora, add_lora
from foveal.models.prompts.batch import position_ids

SIZES = {"width": 64, "depth": 4, "heads": 4, "mlp_width": 96}
CUDA = torch.device("cuda")


def mistral(vocabulary, *, sliding_window=None):
    """A model with fewer key heads than query heads."""
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            sliding_window=sliding_window,
        )
    )


LANGUAGE_MODELS = {
    "llama": lambda: llama(260, **SIZES),
    "qwen3": lambda: qwen3(260, **SIZES),
    "opt": lambda: opt(260, **SIZES),
    "mistral": lambda: mistral(260),
}


def network(name="llama", *, stacked=False):
    torch.manual_seed(0)
    model = VisionLanguageModel(
        VisionTransformer(16, 1, 2, 16, 8, 16, layers=(-1,)),
        MlpProjector,
        LANGUAGE_MODELS[name](),
        byte_tokenizer(),
        DeepStackPlan(16) if stacked else PadToSquare(16),
        merge=(lambda width: DeepStackMerge(width, start_layer=0)) if stacked else None,
    )
    for weight in model.parameters():
        nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.2)
    return model.eval()


def prompts(model, questions=("What?", "And what is this one?")):
    picture = Image.linear_gradient("L").convert("RGB")
    samples = [model.processor.encode_prompt([picture], [Turn("user", f"<image>\n{text}")]) for text in questions]
    return model.processor.collate(samples, side="left")


@pytest.fixture
def captures(monkeypatch):
    """Fake CUDA graphs on this device: a capture runs nothing, a replay runs the step; counts both."""
    counted = {"captures": 0, "replays": 0}

    def graph(step):
        counted["captures"] += 1

        def replay():
            counted["replays"] += 1
            step()

        return replay

    monkeypatch.setattr(generation, "graphs_obstacle", lambda *_: None)
    monkeypatch.setattr(cuda_graphs.Steps.__init__, "__kwdefaults__", {"capture": graph})
    return counted


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_the_same_greedy_tokens(captures, monkeypatch, name, stacked):
    model = network(name, stacked=stacked)
    monkeypatch.setattr(model.processor, "decode", lambda ids: ids.tolist())
    batch = prompts(model)
    plain = generate(model, batch, max_new_tokens=12)
    assert generate(model, batch, max_new_tokens=12, cuda_graphs=True) == plain
    assert len(plain[0]) == 12
    assert captures == {"captures": 1, "replays": 11 - EAGER_STEPS}


@torch.inference_mode()
@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_the_same_logits_at_every_step(name):
    model = network(name)
    batch = prompts(model)
    prompt, mask = model.embed(batch.input_ids, batch.views), batch.attention_mask
    steps = Steps(model.language_model, prompt, mask, 4)
    embeddings = prompt.embeddings
    for token in torch.randint(5, 260, (4, 2)):
        embeddings = torch.cat([embeddings, model.language_model.get_input_embeddings()(token[:, None])], dim=1)
        mask = torch.cat([mask, mask.new_ones(2, 1)], dim=1)
        expected = model.language_model(
            inputs_embeds=embeddings, attention_mask=mask, position_ids=position_ids(mask), use_cache=False
        ).logits[:, -1]
        steps.captured = steps.step
        torch.testing.assert_close(steps.after(token), expected, atol=1e-4, rtol=1e-5)
        assert expected.std() > 0.1


@pytest.mark.parametrize("kind", ["nf4", "nf4-dq", "adapters", "bfloat16"])
def test_quantised_adapted_and_in_halves(captures, monkeypatch, kind):
    model = network()
    if kind == "adapters":
        add_lora(model, Lora(rank=4, alpha=8, dropout=0.0))
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.2)
    elif kind == "bfloat16":
        model.bfloat16()
    else:
        quantize(model.language_model, kind)
    monkeypatch.setattr(model.processor, "decode", lambda ids: ids.tolist())
    batch = prompts(model)
    assert generate(model, batch, max_new_tokens=8, cuda_graphs=True) == generate(model, batch, max_new_tokens=8)


def test_an_answer_ends_where_plain_decoding_ends_it(captures, monkeypatch):
    model = network()
    monkeypatch.setattr(model.processor, "decode", lambda ids: ids.tolist())
    batch = prompts(model)
    first, second = generate(model, batch, max_new_tokens=12)
    stop = next(token for token in first if token not in second)
    monkeypatch.setattr(type(model.processor), "stop_ids", property(lambda _: [stop]))
    plain = generate(model, batch, max_new_tokens=12)
    assert generate(model, batch, max_new_tokens=12, cuda_graphs=True) == plain
    assert plain[0][first.index(stop) + 1 :] == [model.processor.pad_id] * (11 - first.index(stop))
    assert plain[1] == second


def test_the_same_draws(captures):
    model = network()
    batch = prompts(model)
    options = {"max_new_tokens": 8, "temperature": 1.5, "top_p": 0.9}
    torch.manual_seed(1)
    plain = generate(model, batch, **options)
    torch.manual_seed(1)
    assert generate(model, batch, **options, cuda_graphs=True) == plain
    torch.manual_seed(2)
    assert generate(model, batch, **options, cuda_graphs=True) != plain


def test_answers_are_streamed(captures):
    model = network()
    batch = prompts(model, ("What?",))
    plain, ours = [], []
    generate(model, batch, max_new_tokens=10, on_text=plain.append)
    generate(model, batch, max_new_tokens=10, on_text=ours.append, cuda_graphs=True)
    assert ours == plain
    assert "".join(ours)


class Allowed(TorchDispatchMode):
    """Refuses operations for which the host would have to wait, or send data, in the middle of a graph."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        for name in ("_local_scalar_dense", "nonzero", "lift_fresh", "masked_select", "unique"):
            if name in str(operation):
                raise RuntimeError(f"{operation} in a step")
        return operation(*args, **(kwargs or {}))


@torch.inference_mode()
@pytest.mark.parametrize("kind", [None, "nf4", "nf4-dq"])
@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_step_asks_nothing_of_the_host(name, kind):
    model = network(name)
    if kind is not None:
        quantize(model.language_model, kind)
    batch = prompts(model)
    steps = Steps(model.language_model, model.embed(batch.input_ids, batch.views), batch.attention_mask, 4)
    places = [tensor.data_ptr() for layer in steps.cache.layers for tensor in (layer.keys, layer.values)]
    with Allowed():
        steps.step()
        steps.step()
    assert places == [tensor.data_ptr() for layer in steps.cache.layers for tensor in (layer.keys, layer.values)]


@torch.inference_mode()
def test_a_step_that_asks_is_noticed():
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=4,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
    )
    growing = LlamaForCausalLM(config).eval()
    assert graphs_obstacle(growing, CUDA) == "rotary embeddings of type 'dynamic' are recomputed as the text grows"
    model = network()
    batch = prompts(model)
    steps = Steps(growing, model.embed(batch.input_ids, batch.views), batch.attention_mask, 4)
    with pytest.raises(RuntimeError, match="in a step"), Allowed():
        steps.step()


@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -1.0},
        {"temperature": 1e-320},
        {"temperature": float("nan")},
        {"temperature": 1.0, "top_p": 1.5},
    ],
)
def test_settings_out_of_their_range(captures, cuda_graphs, wrong):
    model = network()
    with pytest.raises(ValueError, match="must be at least 1, temperature"):
        generate(model, prompts(model), cuda_graphs=cuda_graphs, **wrong)
    assert captures == {"captures": 0, "replays": 0}


def test_a_capture_that_fails_is_said(monkeypatch):
    class Broken:
        def __init__(self, *_, **__):
            raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", Broken)
    with pytest.raises(ValueError, match=r"cannot be captured .operation not permitted when .*turn CUDA graphs off"):
        cuda_graphs.graph(lambda: None)


def test_where_there_can_be_no_graphs():
    model = network()
    batch = prompts(model)
    assert graphs_obstacle(model.language_model, CUDA) is None
    with pytest.raises(ValueError, match="no CUDA graphs: the model is on the cpu"):
        generate(model, batch, cuda_graphs=True)
    with pytest.raises(ValueError, match="no CUDA graphs: a beam search moves its cache"):
        generate(model, batch, cuda_graphs=True, num_beams=2)
    assert graphs_obstacle(mistral(260), CUDA) is None
    alibi = FalconConfig(hidden_size=64, num_attention_heads=4, num_hidden_layers=1, vocab_size=260, alibi=True)
    assert "builds its own mask" in graphs_obstacle(FalconForCausalLM(alibi), CUDA)
    mixed = Lfm2Config(hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=260)
    mixed.layer_types = ["conv", "full_attention"]
    assert "do not cache the keys" in graphs_obstacle(Lfm2ForCausalLM(mixed), CUDA)
    assert "do not cache the keys and values of all tokens" in graphs_obstacle(mistral(260, sliding_window=8), CUDA)
    use_attention(model.language_model, "eager")
    assert "'eager' does not accept a ready-made mask" in graphs_obstacle(model.language_model, CUDA)
    quantize(model.language_model, "int8")
    assert "int8 searches the inputs for outliers" in graphs_obstacle(model.language_model, CUDA)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", [None, "nf4", "nf4-dq"])
@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_on_a_gpu(monkeypatch, name, kind):
    model = network(name, stacked=True)
    if kind is not None:
        quantize(model.language_model, kind)
    model.to(CUDA)
    monkeypatch.setattr(model.processor, "decode", lambda ids: ids.tolist())
    batch = prompts(model)
    plain = generate(model, batch, max_new_tokens=12)
    assert generate(model, batch, max_new_tokens=12, cuda_graphs=True) == plain

"""Prompts that join and leave a running batch: each answer is the one that its prompt gets alone."""

from functools import partial

import pytest
import torch
from PIL import Image
from torch import nn
from transformers import MistralConfig, MistralForCausalLM, Phi3Config, Phi3ForCausalLM

from foveal.connectors import MlpProjector, Parallel
from foveal.encoders import VisionTransformer
from foveal.models import (
    DeepStackMerge,
    DeepStackPlan,
    LevelsMerge,
    PadToSquare,
    Processor,
    Turn,
    VisionLanguageModel,
    byte_tokenizer,
    generate,
    llama,
    opt,
    qwen3,
    qwen3_vl_text,
)
from foveal.models.generation.running_batch import RunningBatch, alone, joins

SIZES = {"width": 32, "depth": 4, "heads": 2, "mlp_width": 48}
QUESTIONS = ("What?", "And what is written on this one?", "How many?", "Why?")


def mistral(sliding_window):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 2}
    return MistralForCausalLM(
        MistralConfig(vocab_size=260, num_key_value_heads=1, sliding_window=sliding_window, **sizes)
    )


def phi():
    """Its angles are others as soon as one prompt is longer than 40 tokens."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 2}
    sizes |= {"vocab_size": 260, "original_max_position_embeddings": 40, "pad_token_id": None}
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [9.0] * 8}
    config = Phi3Config(**sizes, sliding_window=None, rope_parameters=rope)
    return Phi3ForCausalLM(config)


def dynamic():
    """Its angles are others beyond the context only."""
    language_model = llama(260, **SIZES)
    language_model.config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    return language_model


LANGUAGE_MODELS = {
    "llama": lambda: llama(260, **SIZES),
    "qwen3": lambda: qwen3(260, **SIZES),
    "opt": lambda: opt(260, **SIZES),
    "mistral": lambda: mistral(None),
}


def network(language_model, *, plan=None, merge=None, layers=(-1,), connector=MlpProjector):
    torch.manual_seed(0)
    encoder = VisionTransformer(16, 1, 2, 16, 8, 16, layers=layers)
    plan = plan or PadToSquare(16)
    model = VisionLanguageModel(encoder, connector, language_model, byte_tokenizer(), plan, merge=merge, system="")
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.3)
    model.processor.decode = lambda ids: ids.tolist()
    return model.eval()


def prompt(model, *questions):
    picture = Image.linear_gradient("L").convert("RGB")
    samples = [model.processor.encode_prompt([picture], [Turn("user", f"<image>\n{text}")]) for text in questions]
    return model.processor.collate(samples, side="left")


def add(running, model, *questions):
    batch = prompt(model, *questions)
    embedded = model.embed(batch.input_ids, batch.views, batch.sizes)
    return running.add(embedded, batch.attention_mask, batch.position_ids).argmax(dim=-1)


def answer_alone(model, question, length):
    (ids,) = generate(model, prompt(model, question), max_new_tokens=length)
    return ids


@torch.inference_mode()
def joining(model):
    """The answers of four prompts: one begins, two join it after 3 tokens, the first leaves after 6, another joins."""
    running, answers = RunningBatch(model.language_model), [[], [], [], []]
    rows, tokens = [0], add(running, model, QUESTIONS[0])
    for number in range(12):
        if number == 3:
            tokens, rows = torch.cat([tokens, add(running, model, *QUESTIONS[1:3])]), [0, 1, 2]
        if number == 6:
            running.keep([1, 2])
            tokens, rows = tokens[[1, 2]], [1, 2]
            tokens, rows = torch.cat([tokens, add(running, model, QUESTIONS[3])]), [1, 2, 3]
        for row, token in zip(rows, tokens.tolist(), strict=True):
            answers[row].append(token)
        tokens = running.step(tokens).argmax(dim=-1)
    assert len(running) == 3
    longest = prompt(model, QUESTIONS[1]).input_ids.shape[1]
    # The longest prompt joined after 3 tokens and has read 9 of its answer: there is no padding on its left.
    assert running.tokens == longest + 9
    return answers


@pytest.fixture(autouse=True)
def endless(monkeypatch):
    """No token ends an answer: random weights choose one at some point."""
    monkeypatch.setattr(Processor, "stop_ids", [])


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_each_answer_is_that_of_its_prompt_alone(name, stacked):
    parts = {"plan": DeepStackPlan(16), "merge": partial(DeepStackMerge, start_layer=0)} if stacked else {}
    model = network(LANGUAGE_MODELS[name](), **parts)
    assert joins(model.language_model)
    answers = joining(model)
    for question, answer in zip(QUESTIONS, answers, strict=True):
        assert answer == answer_alone(model, question, len(answer))
    assert len({token for answer in answers for token in answer}) > 3


def test_positions_on_a_grid():
    levels = {
        "layers": (0, -1),
        "connector": partial(Parallel, branches=[MlpProjector] * 2, join="levels"),
        "merge": partial(LevelsMerge, levels=2),
    }
    text = qwen3_vl_text(260, width=32, depth=3, heads=2, key_heads=1, head_width=32, mlp_width=48)
    model = network(text, **levels)
    assert prompt(model, "What?").position_ids.shape[0] == 3
    for question, answer in zip(QUESTIONS, joining(model), strict=True):
        assert answer == answer_alone(model, question, len(answer))


@torch.inference_mode()
def test_where_no_prompt_can_join():
    model = network(mistral(16))
    running = RunningBatch(model.language_model)
    assert not running.joins
    tokens, answers = add(running, model, *QUESTIONS[:2]), []
    with pytest.raises(ValueError, match="no prompt can join others in MistralForCausalLM"):
        add(running, model, QUESTIONS[2])
    with pytest.raises(ValueError, match="no row can leave"):
        running.keep([1])
    for _ in range(8):
        answers.append(tokens.tolist())
        tokens = running.step(tokens).argmax(dim=-1)
    together = generate(model, prompt(model, *QUESTIONS[:2]), max_new_tokens=8)
    assert [list(row) for row in zip(*answers, strict=True)] == together
    running.keep([])
    assert len(running) == running.tokens == 0
    with pytest.raises(ValueError, match="the batch is empty"):
        running.step(tokens)
    assert add(running, model, QUESTIONS[2]).shape == (1,)


@torch.inference_mode()
def test_angles_that_depend_on_the_longest_prompt():
    """A long neighbour changes what is read in a short question."""
    model = network(phi())
    running = RunningBatch(model.language_model)
    assert running.alone
    assert not running.joins

    def logits(*questions):
        batch = prompt(model, *questions)
        return model(batch.input_ids, batch.views, batch.attention_mask, sizes=batch.sizes)[:, -1]

    short, long = (logits(question)[0] for question in QUESTIONS[:2])
    together = logits(*QUESTIONS[:2])
    torch.testing.assert_close(together[1], long)
    assert (together[0] - short).abs().max() > 0.01


@pytest.mark.parametrize("language_model", [*LANGUAGE_MODELS.values(), dynamic, partial(mistral, 16)])
def test_most_prompts_may_have_others_beside_them(language_model):
    assert not alone(language_model())

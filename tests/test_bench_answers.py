"""The benchmark of answers in 4 bits: its models, prompts and cells match the table, on a CPU at a small size."""

import sys

import pytest
import torch
from tools.bench import answers, answers_theirs
from torch import nn

from foveal.models import IMAGE_TOKEN_ID, llama
from foveal.models.generation import cuda_graphs
from foveal.models.generation import generate as generation
from foveal.models.language_models.quantize import decoder_linears, quantized_layers, recorded_kind
from foveal.models.language_models.quantized_loading import parameters_without_memory

CPU = torch.device("cpu")
NAMES = tuple(answers.CASES)
COLUMNS = len(answers.HEAD.splitlines()[1].split(" | "))


def made(name):
    case = answers.CASES[name]
    built = answers.shapes(case, tiny=True)
    answers.quantise(built.language_model, CPU)
    answers_theirs.fill(built, CPU)
    answers.record(built.language_model, "nf4-dq")
    return built, case


@pytest.mark.parametrize("name", NAMES)
def test_published_sizes_have_the_tokens_of_the_table(name):
    """`shapes` refuses others; no weight is created."""
    case = answers.CASES[name]
    built = answers.shapes(case, tiny=False)
    assert all(weight.is_meta for weight in built.parameters())
    assert len(decoder_linears(built.language_model)) == 7 * (40 if "13B" in name else 32)
    assert built.language_model.config.max_position_embeddings >= case.visual + answers.TEXT + 129


def test_another_number_of_tokens_is_refused():
    with pytest.raises(ValueError, match=r"672x672 has 576 visual tokens, expected 577"):
        answers.shapes(answers.Case(answers.model, 577), tiny=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_made_in_4_bits_and_answers_to_the_end(name):
    built, case = made(name)
    language_model = built.language_model
    assert recorded_kind(language_model.config) == "nf4-dq"
    assert len(quantized_layers(language_model)) == 7 * 6
    kept = [weight for weight in built.parameters() if weight.dtype != torch.uint8]
    assert {weight.dtype for weight in kept} == {torch.bfloat16}
    assert not any(tensor.is_meta for tensor in (*built.parameters(), *built.buffers()))
    norms = [module.weight for module in language_model.modules() if "Norm" in type(module).__name__]
    assert len(norms) == 2 * 6 + 1
    assert all(bool((weight == 1).all()) for weight in norms)
    quantised = language_model.get_submodule("model.layers.5.mlp.up_proj").dequantized()
    table = language_model.get_input_embeddings().weight
    for weight in (*kept, quantised):
        if weight.ndim > 1 and weight.numel() > 10_000:
            assert weight.std().item() == pytest.approx(1.0 if weight is table else 0.02, rel=0.1)
    # Rotary frequencies are those of a model built with its weights.
    plain = llama(8, width=256, depth=1, heads=2, mlp_width=8).model.rotary_emb.inv_freq
    torch.testing.assert_close(language_model.model.rotary_emb.inv_freq, plain, rtol=0, atol=0)
    batch = answers.prompt(built, case)
    assert int((batch.input_ids == IMAGE_TOKEN_ID).sum()) == case.visual
    assert batch.input_ids.shape == (1, case.visual + answers.TEXT)
    assert len(answers.answered(built, batch, 3)) == 3


def test_deepstack_stacks_four_times_its_tokens():
    built, case = made("DeepStack-L 7B")
    batch = answers.prompt(built, case)
    with torch.inference_mode():
        stacks = built.embed(batch.input_ids, batch.views, batch.sizes).stacks
    assert [len(stack.values) for stack in stacks] == [576] * 4


def test_no_token_ends_an_answer():
    built, _ = made("LLaVA-1.5 7B")
    assert built.processor.stop_ids == []
    assert built.processor.decode(torch.tensor([2, 7, 2])) == "2 7 2"


@pytest.mark.parametrize("published", [True, False])
def test_theirs_has_4_bits_but_for_the_output(published):
    with parameters_without_memory():
        theirs = answers_theirs.shapes(tiny=not published)
    if published:
        assert sum(weight.numel() for weight in theirs.parameters()) == 7_063_427_072
    linears = [name for name, module in theirs.named_modules() if isinstance(module, nn.Linear)]
    answers_theirs.in_4_bits(theirs)
    assert [name for name, module in theirs.named_modules() if type(module) is nn.Linear] == ["lm_head"]
    if not published:
        answers_theirs.fill(theirs, CPU)
        packed = [name for name, weight in theirs.named_parameters() if weight.dtype == torch.uint8]
        assert packed == [f"{name}.weight" for name in linears if name != "lm_head"]
        answer = answers_theirs.answering(theirs, CPU, visual=576, text=8)
        ids = answer(3)
        # Neither the model's own end token nor that of its configuration ends the answer.
        theirs.generation_config.eos_token_id = theirs.config.text_config.eos_token_id = ids[0]
        assert answer(3) == ids
        assert len(ids) == 3


@pytest.fixture
def counted(monkeypatch):
    """A clock without noise: a token takes a second, the prompt 2."""
    told = {"first": 2.0, "all": 6.0}
    monkeypatch.setattr(answers, "medians", lambda ways, *_, **__: {name: told[name] for name in ways})
    return told


def test_cells_of_a_way_to_decode(counted):
    cells = answers.measured(lambda number: list(range(number)), CPU, limit=7.4, tiny=True)
    assert cells == ("2000 ms", "1.0", "–", [0, 1, 2, 3, 4])
    counted["all"] = 1.9
    assert answers.measured(lambda number: [0] * number, CPU, limit=7.4, tiny=True)[1] == "in the noise"
    with pytest.raises(RuntimeError, match="1 tokens where 5 were asked for"):
        answers.measured(lambda _: [0], CPU, limit=7.4, tiny=True)


@pytest.mark.usefixtures("counted")
def test_a_row_without_a_gpu_says_why_there_are_no_graphs():
    assert answers.row("DeepStack-L 7B", CPU, tiny=True) == (
        "| DeepStack-L 7B | 576 + 512 | 2000 ms | 1.0 | – (the model is on the cpu, not on a CUDA device) | – | – | – |"
    )
    assert answers.row(answers.THEIRS, CPU, tiny=True) == (
        "| LLaVA-1.5 7B, transformers | 576 + 512 | 2000 ms | 1.0 | – | – | – | – |"
    )


@pytest.fixture
def gpu(monkeypatch, counted):
    """Simulates a GPU for a row: a capture runs nothing, a replay does the step, and memory is reported."""
    monkeypatch.setattr(answers, "graphs_obstacle", lambda *_: None)
    monkeypatch.setattr(generation, "graphs_obstacle", lambda *_: None)
    monkeypatch.setattr(cuda_graphs.Steps.__init__, "__kwdefaults__", {"capture": lambda step: step})
    monkeypatch.setattr(answers, "peak", lambda *_: "5.00 (within 7.4), 7.50 (ABOVE 7.4)")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    return counted


def graphs(monkeypatch, change):
    """Make answers with graphs `change` of the true ones."""
    right = answers.answered

    def answered(built, batch, new_tokens, *, graphs=False):
        ids = right(built, batch, new_tokens, graphs=graphs)
        return change(ids) if graphs else ids

    monkeypatch.setattr(answers, "answered", answered)


@pytest.mark.usefixtures("gpu")
def test_a_row_says_how_far_graphs_agree(monkeypatch):
    graphs(monkeypatch, lambda ids: [*ids[:2], 320, *ids[3:]])
    cells = answers.row("LLaVA-1.5 7B", CPU, tiny=True).split(" | ")
    assert cells[3:5] == ["1.0", "1.0"]
    assert cells[5].startswith("the first 2 of 5, ")
    assert len(cells) == COLUMNS


@pytest.mark.usefixtures("gpu")
def test_graphs_give_the_tokens_of_plain_decoding():
    for name in ("DeepStack-L 7B", "LLaVA-UHD 7B, 7 views"):
        cells = answers.row(name, CPU, tiny=True).split(" | ")
        assert cells[5].startswith("the first 5 of 5, ")
        assert int(cells[5].split()[5]) > 2


@pytest.mark.usefixtures("gpu")
def test_graphs_that_fail_leave_the_rest_of_the_row(monkeypatch):
    def fail(_):
        raise RuntimeError("operation failed | when capturing\nmore")

    graphs(monkeypatch, fail)
    cells = answers.row("LLaVA-1.5 7B", CPU, tiny=True).split(" | ")
    assert cells[1:5] == ["576 + 512", "2000 ms", "1.0", "RuntimeError: operation failed / when capturing"]
    assert len(cells) == COLUMNS


@pytest.mark.usefixtures("gpu")
def test_a_case_that_runs_out_of_memory_is_a_row(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(answers, "quantise", full)
    row = answers.row("LLaVA-1.5 7B", CPU, tiny=True)
    assert row.startswith("| LLaVA-1.5 7B | 576 + 512 | out of memory | – | – | – | 5.00 (within 7.4)")
    assert len(row.split(" | ")) == COLUMNS


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU for them")
def test_published_sizes_are_refused_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["answers"])
    with pytest.raises(SystemExit) as stopped:
        answers.main()
    assert stopped.value.code == 2
    assert "--tiny" in capsys.readouterr().err

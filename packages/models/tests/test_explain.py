"""Relevance lands on the part of the picture that it comes from."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from foveal.connectors import Chain, MlpProjector, PerceiverResampler, StridedPool
from foveal.connectors.relevance import text_to_query
from foveal.encoders import VisionTransformer
from foveal.models import (
    PadToSquare,
    Turn,
    UhdPlan,
    VisionLanguageModel,
    answer,
    byte_tokenizer,
    explain,
    llama,
    load,
    save,
)
from foveal.models.relevance import room
from foveal.models.relevance.room import attention_bytes, available_bytes, check_room
from foveal.models.relevance.token_relevance import rows_by_layer
from foveal.models.relevance.words import words_of


def model_of(connector=MlpProjector, plan=None, language_model=None):
    torch.manual_seed(5)
    model = VisionLanguageModel(
        VisionTransformer(16, 2, 2, 24, 7, 28),
        connector,
        language_model or llama(260, width=32, depth=3, heads=2, mlp_width=48, context=900),
        byte_tokenizer(),
        plan or PadToSquare(28),
        system="",
        max_length=900,
    )
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.2)
    return model.eval()


def picture(width=60, height=40, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def test_every_word_is_explained():
    model = model_of()
    explained = explain(model, picture(), "What?", "Two words")
    assert (explained.question, explained.answer) == ("What?", "Two words")
    assert [word.word for word in explained.per_word] == ["Two", "words"]
    for (found,) in (explained.over_answer, *(word.maps for word in explained.per_word)):
        assert found.shape == (40, 60)
        assert found.dtype == np.float32
        assert found.min() >= 0
        assert found.sum() > 0
    first, second = (word.maps[0] for word in explained.per_word)
    assert not np.allclose(first, second, rtol=1e-2)


def test_text_to_query_is_what_the_maps_are_made_of():
    """Tokens that are patches: the map of a square picture has their relevance, in their places."""
    explained = explain(model_of(), picture(56, 56), "What?", "Two words")
    (table,) = explained.query_to_patch[0].tables
    torch.testing.assert_close(table, torch.eye(16, dtype=table.dtype))
    for (tokens,), (found,) in (
        (explained.text_to_query, explained.over_answer),
        *((word.text_to_query, word.maps) for word in explained.per_word),
    ):
        assert tokens.shape == (16,)
        assert tokens.min() >= 0
        assert float(tokens.sum()) == pytest.approx(float(found.sum()), rel=1e-4)
        of_cells = found.reshape(4, 14, 4, 14).sum(axis=(1, 3)).ravel()
        assert of_cells.argmax() == int(tokens.argmax())


def test_text_to_query_of_every_set_of_views():
    explained = explain(
        model_of(partial(PerceiverResampler, queries=4, heads=2), UhdPlan(28, 7, 4)), picture(), "A?", "B"
    )
    assert len(explained.query_to_patch) > 1
    for found in (explained.text_to_query, explained.per_word[0].text_to_query):
        assert [len(tokens) for tokens in found] == [len(each.tables[0]) for each in explained.query_to_patch]
        assert sum(tokens.sum() for tokens in found) > 0


def test_the_answer_is_the_models_own_if_none_is_given():
    model = model_of()
    own = answer(model, picture(), "What?", max_new_tokens=5)
    explained = explain(model, picture(), "What?", max_new_tokens=5, each=None)
    assert explained.answer == own
    assert explained.per_word == ()


def test_words_are_what_stands_between_spaces():
    model = model_of()
    text = "ein Öl  für 3.50 €"
    sample = model.processor.encode([], [Turn("user", "What?"), Turn("assistant", text)])
    words = words_of(model.processor, sample, text)
    assert [word.text for word in words] == ["ein", "Öl", "für", "3.50", "€"]
    places = [place for word in words for place in word.places]
    assert places == list(range(places[0], places[-1] + 1))
    assert model.processor.decode(sample.input_ids[places]) == text


def test_tokens_are_explained_one_by_one():
    explained = explain(model_of(), picture(), "What?", "A 12", each="token")
    assert [word.word for word in explained.per_word] == ["A", "1", "2"]


def test_the_model_is_left_as_it_was():
    model = model_of().train()
    model.encoder.requires_grad_(False)
    model.language_model.set_attn_implementation("eager")
    needed = [weight.requires_grad for weight in model.parameters()]
    explain(model, picture(), "What?", "It", each=None)
    assert model.training
    assert model.language_model.config._attn_implementation == "eager"
    assert [weight.requires_grad for weight in model.parameters()] == needed
    assert all(weight.grad is None for weight in model.parameters())
    assert "forward" not in vars(model.connector)


def test_a_connector_without_rules_is_explained_by_gradients():
    connector = partial(Chain, stages=[partial(StridedPool, mode="max")], last=MlpProjector)
    explained = explain(model_of(connector), picture(), "What?", "It")
    assert not explained.by_rules
    assert explained.over_answer[0].sum() > 0
    assert explain(model_of(), picture(), "What?", "It").by_rules


@pytest.mark.parametrize("connector", [MlpProjector, partial(PerceiverResampler, queries=4, heads=2)])
def test_several_pictures_have_a_map_each(connector):
    model = model_of(connector, UhdPlan(28, 7, 4))
    explained = explain(model, [picture(60, 40), picture(20, 90)], "Both?", "Yes", each=None)
    assert [found.shape for found in explained.over_answer] == [(40, 60), (90, 20)]
    assert all(found.sum() > 0 for found in explained.over_answer)
    assert {of_set.picture for of_set in explained.query_to_patch} == {0, 1}


def test_what_cannot_be_explained_is_refused():
    model = model_of()
    with pytest.raises(ValueError, match="no picture"):
        explain(model, [], "What?", "It")
    with pytest.raises(ValueError, match="the answer is empty"):
        explain(model, picture(), "What?", " ")


def test_relevance_at_a_layer_is_that_of_the_layers_from_there_on():
    weights = [torch.rand(6, 6, dtype=torch.float64).tril() for _ in range(4)]
    rows = rows_by_layer(weights, [4, 5], [0, 2])
    for layer, row in rows.items():
        expected = sum(text_to_query(weights[layer:], place - 1, torch.arange(6)) for place in (4, 5))
        torch.testing.assert_close(row, expected)


def test_an_attention_that_cannot_be_recorded_is_refused(monkeypatch):
    model = model_of()
    monkeypatch.setattr(model.language_model, "set_attn_implementation", lambda kind: None)
    model.language_model.config._attn_implementation = "eager"
    with pytest.raises(ValueError, match="of its 3 layers, 0 show their attention"):
        explain(model, picture(), "What?", "It")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nf4-dq", "int8"])
def test_a_quantised_model_is_explained_nearly_alike(kind, tmp_path):
    pytest.importorskip("bitsandbytes")
    whole = model_of(language_model=llama(260, width=128, depth=2, heads=2, mlp_width=128, context=900))
    for weight in whole.language_model.parameters():
        weight.data *= 0.2 if weight.ndim > 1 else 1  # large random weights would make chaos of any rounding
    save(whole, tmp_path / "model")
    few = explain(load(tmp_path / "model", quantize=kind), picture(), "What?", "It", each=None)
    expected = explain(whole, picture(), "What?", "It", each=None)
    assert np.corrcoef(few.over_answer[0].ravel(), expected.over_answer[0].ravel())[0, 1] > 0.9


def test_half_precision_is_explained_nearly_alike():
    expected = explain(model_of(), picture(), "What?", "It", each=None)
    half = explain(model_of().to(torch.bfloat16), picture(), "What?", "It", each=None)
    assert np.corrcoef(half.over_answer[0].ravel(), expected.over_answer[0].ravel())[0, 1] > 0.98


@pytest.fixture
def memory(monkeypatch, tmp_path):
    """Lets the system say what memory is available, in kB, or nothing."""

    def says(available):
        lines = "MemTotal: 1000000 kB\nMemFree: 1 kB\n" + f"MemAvailable:   {available} kB\n" * (available is not None)
        (tmp_path / "meminfo").write_text(lines)
        monkeypatch.setattr(room, "MEMORY", tmp_path / "meminfo")

    return says


def test_what_does_not_fit_into_memory_is_refused(memory, monkeypatch):
    memory(1_500_000)
    needed = attention_bytes(model_of().language_model, 100)
    assert needed == 2 * 3 * 2 * 100 * 100 * 4
    check_room(1024 * 1_500_000, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"need 3\.00 GB, 1\.54 GB are free: .* a shorter answer$"):
        check_room(3_000_000_000, torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1_000_000_000, 8_000_000_000))
    with pytest.raises(ValueError, match=r"1\.00 GB are free: .* a shorter answer, or use the CPU$"):
        check_room(3_000_000_000, torch.device("cuda"))


def test_the_cpu_has_an_end_too(memory):
    """Linux would end the process, and give no error."""
    memory(10)
    with pytest.raises(ValueError, match=r"need 0\.00 GB, 0\.00 GB are free"):
        explain(model_of(), picture(), "What?", "It")
    memory(100_000)
    assert explain(model_of(), picture(), "What?", "It").over_answer[0].sum() > 0


def test_a_system_that_does_not_say_what_is_available(memory, monkeypatch):
    for device in ("cpu", "meta"):
        memory(None)
        assert available_bytes(torch.device(device)) is None
    monkeypatch.setattr(room, "MEMORY", room.MEMORY.with_name("nothing"))
    check_room(10**18, torch.device("cpu"))

"""The class that lmms-eval builds, with a stand-in for lmms-eval."""

import logging
import sys
from importlib.metadata import entry_points

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.core import Size
from foveal.lmms_eval import answering, manifest
from foveal.models import answer, load

COLOURS = ("red", "blue", "grey", "white", "gold")


def asked(colour, question="Colour?"):
    picture = Image.new("RGB", (16, 16), colour)
    return [{"type": "image", "url": picture}, {"type": "text", "text": question}]


@pytest.fixture
def foveal(lmms_eval, checkpoint):
    def build(**more):
        return lmms_eval.Foveal.create_from_arg_string(f"checkpoint={checkpoint}", {"device": "cpu", **more})

    return build


def test_it_imports_without_lmms_eval():
    """The stand-in is there only where the fixture is."""
    assert "foveal.lmms_eval" in sys.modules
    assert "lmms_eval" not in sys.modules
    with pytest.raises(ImportError, match="lmms_eval"):
        manifest()


def test_the_entry_point(lmms_eval):
    (found,) = entry_points(group="lmms_eval.models", name="foveal")
    assert found.load() is manifest
    assert manifest().model_id == "foveal"
    assert manifest().simple_class_path is None
    assert manifest().chat_class_path == f"{lmms_eval.__name__}.{lmms_eval.Foveal.__name__}"
    assert lmms_eval.Foveal.is_simple is False


def test_answers_are_those_of_the_model(foveal, requests, checkpoint):
    model, plain = foveal(batch_size="2"), load(checkpoint)
    found = model.generate_until(requests(model, [asked(each) for each in COLOURS], {"max_new_tokens": 6}))
    expected = [answer(plain, asked(each)[0]["url"], "Colour?", max_new_tokens=6) for each in COLOURS]
    assert [result.text for result in found] == expected
    assert len(set(expected)) > 2


def test_tokens_are_counted(foveal, requests, checkpoint):
    model, processor = foveal(batch_size=2), load(checkpoint).processor
    documents = [asked("red", "A"), asked("red", "Longer"), [{"type": "text", "text": "A"}]]
    found = model.generate_until(requests(model, documents, {"max_new_tokens": 6}))
    inputs = [result.token_counts.input_tokens for result in found]
    assert inputs[1] - inputs[0] == len("Longer") - len("A")
    assert inputs[0] - inputs[2] == len(processor.picture_ids(Size(16, 16))) + len("\n")
    assert all(result.token_counts.output_tokens > 0 for result in found if result.text)


def test_a_picture_is_encoded_once(foveal, requests):
    model = foveal(batch_size=2)
    documents = [asked(colour, question) for question in ("A?", "B?", "C?") for colour in ("red", "blue")]
    model.generate_until(requests(model, documents, {"max_new_tokens": 2}))
    seen = model._answering._seen
    assert (seen.encoded, seen.reused) == (2, 4)


@pytest.fixture
def echo(monkeypatch):
    """Answers with the largest number of new tokens; a list of that and the number of prompts of each batch."""
    batches = []

    def generate_ids(model, batch, *, max_new_tokens, **others):
        batches.append((max_new_tokens, len(batch.input_ids)))
        ids = model.processor.tokenizer(f"{max_new_tokens}, stop, {max_new_tokens}")["input_ids"]
        return torch.tensor([ids] * len(batch.input_ids))

    monkeypatch.setattr(answering, "generate_ids", generate_ids)
    return batches


@given(st.lists(st.integers(1, 4), max_size=12), st.integers(1, 5))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_batches_have_equal_settings_and_the_order_is_kept(foveal, requests, echo, lengths, batch_size):
    echo.clear()
    model = foveal(batch_size=str(batch_size))
    every = [
        {"max_new_tokens": length, "until": [", stop"], "unknown": number} for number, length in enumerate(lengths)
    ]
    found = model.generate_until(requests(model, [asked("red")] * len(lengths), every))
    assert [result.text for result in found] == [str(length) for length in lengths]
    assert len(echo) == sum(-(-lengths.count(length) // batch_size) for length in set(lengths))
    assert all(number <= batch_size for _, number in echo)


def test_requests_of_several_tasks_share_a_batch(foveal, requests, echo):
    model = foveal(batch_size=8)
    both = [
        *requests(model, [asked("red")] * 2, {"max_new_tokens": 3, "until": ["\n\n"]}, task="first"),
        *requests(model, [asked("blue")], {"max_new_tokens": 3, "temperature": 0, "top_p": 0}, task="second"),
    ]
    assert len(model.generate_until(both)) == 3
    assert echo == [(3, 3)]


def test_arguments_are_passed_on_and_unknown_ones_told(foveal, requests, monkeypatch, caplog):
    passed = []
    answer = torch.tensor([[1]])
    monkeypatch.setattr(answering, "generate_ids", lambda model, batch, **others: passed.append(others) or answer)
    arguments = {"temperature": 0.5, "top_p": 0.9, "num_beams": 2, "image_aspect_ratio": "pad", "until": ["\n\n"]}
    model = foveal()
    with caplog.at_level(logging.WARNING):
        model.generate_until(requests(model, [asked("red")] * 2, arguments | {"max_new_tokens": 2}))
    expected = {"max_new_tokens": 2, "temperature": 0.5, "top_p": 0.9, "num_beams": 2, "cuda_graphs": False}
    assert [{name: value for name, value in each.items() if name != "seen"} for each in passed] == [expected] * 2
    assert passed[0]["seen"] is passed[1]["seen"]
    (told,) = [record.getMessage() for record in caplog.records]
    assert "image_aspect_ratio" in told


def test_what_cannot_be_honoured_is_refused_before_the_first_answer(foveal, requests, echo):
    model = foveal()
    every = [{"max_new_tokens": 2}, {"repetition_penalty": 1.2}]
    with pytest.raises(ValueError, match=r"colours, document 1: the generation argument repetition_penalty is 1\.2"):
        model.generate_until(requests(model, [asked("red"), asked("blue")], every))
    assert echo == []


@pytest.mark.parametrize("broken", [asked("red", "much too long " * 20), [{"type": "image", "url": "none.png"}]])
def test_a_question_that_cannot_be_answered(foveal, requests, caplog, broken):
    documents = [asked("red"), broken, asked("blue")]
    model, skipping = foveal(batch_size=3), foveal(batch_size=3, on_bad_sample="skip")
    with pytest.raises(ValueError, match="colours, document 1: "):
        model.generate_until(requests(model, documents, {"max_new_tokens": 4}))
    whole = model.generate_until(requests(model, [documents[0], documents[2]], {"max_new_tokens": 4}))
    with caplog.at_level(logging.WARNING):
        found = skipping.generate_until(requests(skipping, documents, {"max_new_tokens": 4}))
    assert [result.text for result in found] == [whole[0].text, "", whole[1].text]
    assert "left out colours, document 1: " in caplog.text


def test_an_answer_ends_with_the_context_whatever_is_in_its_batch(foveal, requests, checkpoint, caplog):
    documents = [asked("red"), asked("blue", "Which colour is this picture in all of its parts?")]
    alone, together = foveal(batch_size=1), foveal(batch_size=2)
    with caplog.at_level(logging.WARNING):
        (first, second), found = (
            model.generate_until(requests(model, documents, {"max_new_tokens": 1024})) for model in (alone, together)
        )
    assert found == [first, second]
    context = load(checkpoint).language_model.config.max_position_embeddings
    assert f"leaves {context - first.token_counts.input_tokens}: it ends there" in caplog.text
    assert f"leaves {context - second.token_counts.input_tokens}: it ends there" in caplog.text


def test_what_is_not_supported(foveal):
    model = foveal()
    with pytest.raises(NotImplementedError, match="no log likelihoods"):
        model.loglikelihood([])
    with pytest.raises(NotImplementedError, match="in one round"):
        model.generate_until_multi_round([])


def test_ranks(foveal, monkeypatch):
    assert (foveal().rank, foveal().world_size) == (0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (foveal().rank, foveal().world_size) == (2, 4)


def test_the_model_survives_until_it_is_freed(foveal):
    """lmms-eval frees what it finds: attributes that are modules."""
    model = foveal()
    assert not [name for name, value in vars(model).items() if isinstance(value, torch.nn.Module)]
    assert model.device == torch.device("cpu")

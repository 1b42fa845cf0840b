"""Questions that are answered together, wait, leave and fail, each without harm to the others."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import httpx
import pytest
import torch
from PIL import Image
from tests.serving import QUESTIONS, Gate, asked, data_url, picture, running, tiny_model, until
from transformers import Phi3Config, Phi3ForCausalLM

from foveal.models import answer
from foveal.models.generation.running_batch import RunningBatch
from recipes.serving.row import Row
from recipes.serving.worker import Worker

EXPLAINED = {"model": "uhd", "picture": data_url(picture()), "question": "What?", "answer": "one"}


def text_of(server, question):
    text, pictures = question
    return server.ask(text, *pictures, max_tokens=12).choices[0].message.content


def post(server, text="What?", *images, **options):
    """The response to one user message, whatever its status."""
    body = {"model": "uhd", "messages": asked(text, *images)} | options
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30)


@contextmanager
def left(server, **options):
    """A client that has asked, and leaves at the end of the block."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        sent = json.dumps({"model": "uhd", "messages": asked("What?", picture())} | options).encode()
        head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(sent)}"
        client.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n\r\n".encode() + sent)
        yield


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_questions_that_come_together_are_answered_together(model, monkeypatch):
    expected = [answer(model, pictures, text, max_new_tokens=12) for text, pictures in QUESTIONS]
    gate = Gate(monkeypatch)
    with running({"uhd": model}) as server, ThreadPoolExecutor(4) as pool:
        first = pool.submit(text_of, server, QUESTIONS[0])
        until(lambda: server.metric("foveal_running", model="uhd") == 1)
        others = [pool.submit(text_of, server, question) for question in QUESTIONS[1:]]
        until(lambda: server.metric("foveal_waiting", model="uhd") == 3)
        gate.let(1)
        # They join the first at its next token.
        until(lambda: server.metric("foveal_running", model="uhd") == 4)
        gate.open()
        assert [each.result() for each in (first, *others)] == expected
        assert server.metric("foveal_batch_size_bucket", model="uhd", le="2.0") < server.metric(
            "foveal_batch_size_bucket", model="uhd", le="4.0"
        )


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place(model, monkeypatch, stream):
    gate = Gate(monkeypatch)
    with running({"uhd": model}, max_requests=1) as server:
        with left(server, max_tokens=400, stream=stream):
            until(lambda: server.metric("foveal_running", model="uhd") == 1)
        until(lambda: server.service.state.active == 0, "the place was not freed: it")
        gate.open()
        until(lambda: server.metric("foveal_answers_total", model="uhd", end="left") == 1)
        assert server.ask("And?").choices
        # The answer that was left had up to 400 tokens; hardly any were made.
        assert server.metric("foveal_tokens_total", model="uhd", kind="answer") < 50


def test_a_client_that_leaves_while_it_waits_is_not_counted_any_more(model, monkeypatch):
    """Not only when there is a place for it."""
    gate = Gate(monkeypatch)
    with running({"uhd": model}, max_batch=1) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, server, max_tokens=400)
        until(lambda: server.metric("foveal_running", model="uhd") == 1)
        with left(server):
            until(lambda: server.metric("foveal_waiting", model="uhd") == 1)
        until(lambda: server.service.state.active == 1)
        gate.let(2)
        until(lambda: server.metric("foveal_answers_total", model="uhd", end="left") == 1)
        assert server.metric("foveal_waiting", model="uhd") == 0
        assert server.metric("foveal_running", model="uhd") == 1
        gate.open()
        assert first.result().status_code == 200


def test_the_queue_has_an_end(model, monkeypatch):
    gate = Gate(monkeypatch)
    with running({"uhd": model}, max_requests=2) as server, ThreadPoolExecutor(2) as pool:
        two = [pool.submit(post, server) for _ in range(2)]
        until(lambda: server.service.state.active == 2)
        refused = post(server)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "queue_full"
        assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}
        gate.open()
        assert [each.result().status_code for each in two] == [200, 200]
        # A client with retries, as OpenAI's has by default, comes through.
        assert post(server).status_code == 200


def test_a_language_model_that_none_can_join(monkeypatch):
    """Whoever comes later waits for the end of the batch, and is answered as alone."""
    model = tiny_model()
    monkeypatch.setattr("foveal.models.generation.running_batch.joins", lambda _: False)
    with running({"uhd": model}) as server, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(partial(text_of, server), QUESTIONS))
    assert answers == [answer(model, pictures, text, max_new_tokens=12) for text, pictures in QUESTIONS]


def test_a_language_model_that_answers_one_by_one(monkeypatch):
    """A longer question would change the angles of a shorter one that is read with it."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"vocab_size": 260, "max_position_embeddings": 600, "original_max_position_embeddings": 60}
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [9.0] * 8}
    config = Phi3Config(**sizes, rope_parameters=rope, sliding_window=None, pad_token_id=None)
    model, gate = tiny_model(language_model=Phi3ForCausalLM(config)), Gate(monkeypatch)
    with running({"uhd": model}) as server, ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(text_of, server, question) for question in QUESTIONS]
        until(lambda: server.metric("foveal_waiting", model="uhd") == 3)
        gate.open()
        assert [each.result() for each in answers] == [
            answer(model, pictures, text, max_new_tokens=12) for text, pictures in QUESTIONS
        ]
        assert server.metric("foveal_batch_size_bucket", model="uhd", le="1.0") == server.metric(
            "foveal_batch_size_count", model="uhd"
        )


def test_a_fault_is_not_the_neighbours(model, monkeypatch):
    """A picture that cannot be encoded fails its question only; the message says nothing of the inside."""
    merged = type(model).merged

    def failing(self, views, sizes):
        if any(not view.any() for view in views):
            raise RuntimeError("/secret/path")
        return merged(self, views, sizes)

    monkeypatch.setattr(type(model), "merged", failing)
    gate = Gate(monkeypatch)
    with running({"uhd": model}) as server, ThreadPoolExecutor(3) as pool:
        first = pool.submit(post, server, "What?", picture(seed=1))
        until(lambda: server.metric("foveal_running", model="uhd") == 1)
        others = [pool.submit(post, server, "What?", image) for image in (Image.new("RGB", (60, 40)), picture(seed=2))]
        until(lambda: server.metric("foveal_waiting", model="uhd") == 2)
        gate.open()
        assert first.result().status_code == 200
        broken, good = (each.result() for each in others)
        assert (broken.status_code, good.status_code) == (500, 200)
        assert broken.json()["error"]["message"] == "an error in the server; its log has more"


def test_a_first_token_that_cannot_be_sampled_fails_its_answer_only(model, monkeypatch):
    """Logits that are not numbers have a likeliest token, but none can be sampled from them."""
    add = RunningBatch.add
    monkeypatch.setattr(RunningBatch, "add", lambda *given: (float("nan") if len(given[0]) else 1.0) * add(*given))
    gate = Gate(monkeypatch)
    with running({"uhd": model}) as server, ThreadPoolExecutor(3) as pool:
        first = pool.submit(text_of, server, QUESTIONS[0])
        until(lambda: server.metric("foveal_running", model="uhd") == 1)
        others = [pool.submit(post, server, **options) for options in ({"temperature": 1}, {"temperature": 0})]
        until(lambda: server.metric("foveal_waiting", model="uhd") == 2)
        gate.open()
        assert sorted(each.result().status_code for each in others) == [200, 500]
        assert first.result() == answer(model, QUESTIONS[0][1], QUESTIONS[0][0], max_new_tokens=12)
        assert server.metric("foveal_answers_total", model="uhd", end="error") == 1
        assert post(server, temperature=1).status_code == 200


@pytest.mark.parametrize("place", ["__init__", "keep"])
def test_no_memory_for_the_places_of_a_batch(model, monkeypatch, place):
    """What fails beside reading and choosing tokens fails the questions, not the server."""
    owner = Row if place == "__init__" else RunningBatch

    def failing(*_):
        raise torch.OutOfMemoryError

    with running({"uhd": model}) as server:
        with monkeypatch.context() as patched:
            patched.setattr(owner, place, failing)
            refused = post(server, max_tokens=1)
        # Where the answer has ended, nothing is left to fail.
        assert refused.status_code == (503 if place == "__init__" else 200)
        assert post(server).status_code == 200
        assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}


def test_a_fault_that_ends_the_answers_is_told_to_everybody(model, monkeypatch):
    gate = Gate(monkeypatch)
    with running({"uhd": model}, max_batch=2) as server, ThreadPoolExecutor(3) as pool:
        first = pool.submit(post, server)
        until(lambda: server.metric("foveal_running", model="uhd") == 1)
        others = [pool.submit(post, server) for _ in range(2)]
        until(lambda: server.metric("foveal_waiting", model="uhd") == 2)
        monkeypatch.setattr(Worker, "_count_prompt", None)
        gate.open()
        refused = [each.result() for each in (first, *others)]
        refused += [post(server), httpx.post(f"{server.url}/explain", json=EXPLAINED, timeout=30)]
        assert [(each.status_code, each.json()["error"]["code"]) for each in refused] == [(503, "model_failed")] * 5
        health = httpx.get(f"{server.url}/health")
        assert (health.status_code, health.json()) == (503, {"status": "failed"})


def test_threads_end_with_the_server(model):
    before = threading.active_count()
    with running({"uhd": model}):
        pass
    assert threading.active_count() <= before

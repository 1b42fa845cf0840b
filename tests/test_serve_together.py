"""Questions that are answered together, wait, leave and fail, each without harm to the others."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest
from PIL import Image
from tests.serving import QUESTIONS, Gate, asked, picture, running, tiny_model, until

from foveal.models import answer


def text_of(server, question):
    text, pictures = question
    return server.ask(text, *pictures, max_tokens=12).choices[0].message.content


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
        body = {"model": "uhd", "messages": asked("What?", picture()), "max_tokens": 400, "stream": stream}
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            sent = json.dumps(body).encode()
            head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(sent)}"
            client.sendall(f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n\r\n".encode() + sent)
            until(lambda: server.metric("foveal_running", model="uhd") == 1)
        until(lambda: server.service.state.active == 0, "the place was not freed: it")
        gate.open()
        until(lambda: server.metric("foveal_answers_total", model="uhd", end="left") == 1)
        assert server.ask("And?").choices
        # The answer that was left had up to 400 tokens; hardly any were made.
        assert server.metric("foveal_tokens_total", model="uhd", kind="answer") < 50


def test_the_queue_has_an_end(model, monkeypatch):
    gate = Gate(monkeypatch)
    with running({"uhd": model}, max_requests=2) as server, ThreadPoolExecutor(2) as pool:
        body = {"model": "uhd", "messages": asked("What?", picture())}

        def post():
            return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30)

        two = [pool.submit(post) for _ in range(2)]
        until(lambda: server.service.state.active == 2)
        refused = post()
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "queue_full"
        assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}
        gate.open()
        assert [each.result().status_code for each in two] == [200, 200]
        # A client with retries, as OpenAI's has by default, comes through.
        assert post().status_code == 200


def test_a_language_model_that_none_can_join(monkeypatch):
    """Whoever comes later waits for the end of the batch, and is answered as alone."""
    model = tiny_model()
    monkeypatch.setattr("foveal.models.generation.running_batch.joins", lambda _: False)
    with running({"uhd": model}) as server, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(partial(text_of, server), QUESTIONS))
    assert answers == [answer(model, pictures, text, max_new_tokens=12) for text, pictures in QUESTIONS]


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

        def post(image):
            body = {"model": "uhd", "messages": asked("What?", image)}
            return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=30)

        first = pool.submit(post, picture(seed=1))
        until(lambda: server.metric("foveal_running", model="uhd") == 1)
        others = [pool.submit(post, image) for image in (Image.new("RGB", (60, 40)), picture(seed=2))]
        until(lambda: server.metric("foveal_waiting", model="uhd") == 2)
        gate.open()
        assert first.result().status_code == 200
        broken, good = (each.result() for each in others)
        assert (broken.status_code, good.status_code) == (500, 200)
        assert broken.json()["error"]["message"] == "an error in the server; its log has more"


def test_threads_end_with_the_server(model):
    before = threading.active_count()
    with running({"uhd": model}):
        pass
    assert threading.active_count() <= before

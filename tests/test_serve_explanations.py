"""Where the model looked, asked of a server: in steps, with limits, and ended when the client leaves."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch
from tests.serving import Gate, data_url, picture, running, tiny_model, until

from foveal.models import explain
from foveal.models.generation.running_batch import RunningBatch
from foveal.models.relevance.explainer import Explainer
from recipes.serving import explanations

ASKED = {"model": "uhd", "picture": data_url(picture()), "question": "What?", "answer": "one two three four five"}


@pytest.fixture(scope="module")
def model():
    return tiny_model()


class Words:
    """Lets the words of explanations pass one by one."""

    def __init__(self, monkeypatch):
        self.begun, self._let = 0, threading.Semaphore(0)
        relevance = Explainer.relevance

        def waiting(explainer, places):
            self.begun += 1
            assert self._let.acquire(timeout=20)
            return relevance(explainer, places)

        monkeypatch.setattr(Explainer, "relevance", waiting)

    def let(self, words):
        self._let.release(words)


def post(server, **body):
    return httpx.post(f"{server.url}/explain", json=ASKED | body, timeout=30)


def test_answers_go_on_between_the_words(model, monkeypatch):
    """An explanation takes a step between two tokens, and disturbs neither."""
    with running({"uhd": model}) as server:
        expected = server.ask("?", picture(), max_tokens=200).choices[0].message.content
    events, step, relevance = [], RunningBatch.step, Explainer.relevance
    monkeypatch.setattr(RunningBatch, "step", lambda *given: events.append("token") or step(*given))
    monkeypatch.setattr(Explainer, "relevance", lambda *given: events.append("word") or relevance(*given))
    gate = Gate(monkeypatch)
    with running({"uhd": model}) as server, ThreadPoolExecutor(1) as pool:
        stream = server.ask("?", picture(), max_tokens=200, stream=True)
        until(lambda: server.metric("foveal_running", model="uhd") == 1)
        later = pool.submit(post, server, answer="one two")
        until(lambda: server.service.workers["uhd"]._works)
        gate.open()
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        words = later.result().json()["words"]
    assert text == expected
    assert [each["word"] for each in words] == ["one", "two"]
    first, second = (place for place, event in enumerate(events) if event == "word")
    assert second - first > 1, events[first:]
    (alone,) = (word.maps for word in explain(model, picture(), "What?", "one two").per_word if word.word == "two")
    assert words[1]["map"] == explanations._small(alone[0])
    assert all(len(str(value)) <= 4 for row in words[1]["map"] for value in row)


def test_a_client_that_leaves_ends_its_explanation(model, monkeypatch):
    words = Words(monkeypatch)
    monkeypatch.setattr(explanations, "MOST_AT_A_TIME", 1)
    with running({"uhd": model}, max_requests=1) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            sent = json.dumps(ASKED).encode()
            head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(sent)}"
            client.sendall(f"POST /explain HTTP/1.1\r\n{head}\r\n\r\n".encode() + sent)
            until(lambda: words.begun == 1)
        until(lambda: server.service.state.active == 0, "the place was not freed: it")
        words.let(1)
        until(lambda: not server.service.workers["uhd"]._works, "the explanation did not end: it")
        assert words.begun == 1
        words.let(5)
        assert len(post(server).json()["words"]) == 5


def test_few_wait(model, monkeypatch):
    words = Words(monkeypatch)
    with running({"uhd": model}) as server, ThreadPoolExecutor(4) as pool:
        others = [pool.submit(post, server) for _ in range(explanations.MOST_AT_A_TIME)]
        until(lambda: server.service.state.active == explanations.MOST_AT_A_TIME)
        until(lambda: words.begun == 1)
        refused = post(server)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["code"] == "queue_full"
        assert refused.json()["error"]["message"] == "4 answers are being explained or wait: try again in a moment"
        words.let(20)
        assert [each.result().status_code for each in others] == [200] * 4


def test_a_long_answer_is_refused_before_its_picture_is_decoded(model, monkeypatch):
    monkeypatch.setattr(explanations, "read_image", lambda _: pytest.fail("the picture was decoded"))
    with running({"uhd": model}) as server:
        refused = post(server, answer="a" * 300).json()["error"]
    assert refused["message"] == "the answer has 302 tokens, 256 at most are explained: give a shorter one"
    assert (refused["param"], refused["type"]) == ("answer", "invalid_request_error")


def test_no_room_for_an_explanation_is_not_a_fault(model, monkeypatch):
    def read(explainer):
        raise torch.OutOfMemoryError

    with running({"uhd": model}) as server:
        with monkeypatch.context() as patched:
            patched.setattr(Explainer, "read", read)
            refused = post(server)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "out_of_memory")
        assert len(post(server).json()["words"]) == 5


def test_a_server_that_stops_ends_its_explanations_first(model, monkeypatch):
    words = Words(monkeypatch)
    with running({"uhd": model}) as server, ThreadPoolExecutor(1) as pool:
        explained = pool.submit(post, server)
        until(lambda: words.begun == 1)
        server.service.state.draining = True
        assert post(server).status_code == 503
        words.let(5)
        assert len(explained.result().json()["words"]) == 5


def test_a_server_that_stops_at_once_refuses_what_waits(model, monkeypatch):
    words = Words(monkeypatch)
    with running({"uhd": model}) as server, ThreadPoolExecutor(3) as pool:
        explained = [pool.submit(post, server) for _ in range(2)]
        until(lambda: len(server.service.workers["uhd"]._works) == 2)
        until(lambda: words.begun == 1)
        stopping = pool.submit(server.service.stop)
        until(lambda: server.service.workers["uhd"]._ends)
        words.let(1)
        assert [each.result().json()["error"]["code"] for each in explained] == ["stopping"] * 2
        stopping.result()

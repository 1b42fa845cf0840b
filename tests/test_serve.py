"""Answers over HTTP, asked for with OpenAI's client: those of Python, together, and freed when nobody waits."""

import json
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image
from tests.serving import Gate, asked, data_url, picture, running, tiny_model, until

from foveal.models import IMAGE_TOKEN_ID, Turn, answer

QUESTIONS = [
    ("What?", [picture()]),
    ("And this?", []),
    ("Both?", [picture(), picture(20, 90, seed=1)]),
    ("?", [picture()]),
]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def served(model):
    with running({"uhd": model}) as server:
        yield server


def test_an_answer_is_that_of_python(served, model):
    for text, pictures in QUESTIONS:
        given = served.client().chat.completions.create(model="uhd", messages=asked(text, *pictures), max_tokens=12)
        (choice,) = given.choices
        assert choice.message.content == answer(model, pictures, text, max_new_tokens=12)
        assert choice.finish_reason in ("stop", "length")


def test_usage_counts_text_and_visual_tokens(served, model):
    usage = served.client().chat.completions.create(model="uhd", messages=asked("What?", picture())).usage
    sample = model.processor.encode_prompt([picture()], [Turn("user", "<image>\nWhat?")])
    visual = int((sample.input_ids == IMAGE_TOKEN_ID).sum())
    assert usage.prompt_tokens == len(sample.input_ids)
    assert usage.prompt_tokens_details.image_tokens == visual
    assert usage.prompt_tokens_details.text_tokens == len(sample.input_ids) - visual
    assert 1 <= usage.completion_tokens <= 8
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_streamed_pieces_are_the_answer(served, model):
    for text, pictures in QUESTIONS:
        stream = served.client().chat.completions.create(
            model="uhd",
            messages=asked(text, *pictures),
            max_completion_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
        first, *pieces, end, usage = stream
        assert first.choices[0].delta.role == "assistant"
        assert "".join(each.choices[0].delta.content for each in pieces) == answer(
            model, pictures, text, max_new_tokens=12
        )
        assert end.choices[0].finish_reason in ("stop", "length")
        assert usage.choices == []
        assert usage.usage.completion_tokens <= 12
        assert len({each.id for each in (first, *pieces, end, usage)}) == 1


def test_a_conversation(served, model):
    messages = [
        {"role": "system", "content": "Be brief."},
        *asked("What?", picture()),
        {"role": "assistant", "content": "A page.", "refusal": None},
        {"role": "user", "content": "And now?"},
    ]
    from foveal.models import generate

    turns = [
        Turn("system", "Be brief."),
        Turn("user", "<image>\nWhat?"),
        Turn("assistant", "A page."),
        Turn("user", "And now?"),
    ]
    batch = model.processor.collate([model.processor.encode_prompt([picture()], turns)], side="left")
    given = served.client().chat.completions.create(model="uhd", messages=messages, max_tokens=9)
    assert [given.choices[0].message.content] == generate(model, batch, max_new_tokens=9)


def test_an_answer_ends_at_a_stop_text(served):
    def ask(**options):
        (choice,) = (
            served.client()
            .chat.completions.create(model="uhd", messages=asked("What?", picture()), max_tokens=12, **options)
            .choices
        )
        return choice.message.content, choice.finish_reason

    whole, _ = ask()
    stop = whole[3:5]
    assert ask(stop=stop) == (whole[: whole.index(stop)].rstrip(), "stop")
    assert ask(stop=["never", stop]) == ask(stop=stop)


def test_a_seed_repeats_a_sampled_answer(served):
    def ask(seed):
        return (
            served.client()
            .chat.completions.create(
                model="uhd", messages=asked("What?", picture()), temperature=1.5, top_p=0.9, seed=seed
            )
            .choices[0]
            .message.content
        )

    answers = {ask(seed) for seed in (1, 2, 3)}
    assert len(answers) > 1
    assert {ask(seed) for seed in (1, 2, 3)} == answers


def test_questions_that_come_together_are_answered_together(model, monkeypatch):
    expected = [answer(model, pictures, text, max_new_tokens=12) for text, pictures in QUESTIONS]
    gate = Gate(monkeypatch)
    with running({"uhd": model}) as server, ThreadPoolExecutor(4) as pool:

        def ask(question):
            text, pictures = question
            given = server.client().chat.completions.create(model="uhd", messages=asked(text, *pictures), max_tokens=12)
            return given.choices[0].message.content

        first = pool.submit(ask, QUESTIONS[0])
        until(lambda: server.metric("foveal_running", model="uhd") == 1)
        others = [pool.submit(ask, question) for question in QUESTIONS[1:]]
        until(lambda: server.metric("foveal_waiting", model="uhd") == 3)
        gate.let(1)
        # They join the first at its next token.
        until(lambda: server.metric("foveal_running", model="uhd") == 4)
        gate.open()
        assert [each.result() for each in (first, *others)] == expected
        assert server.metric("foveal_batch_size_bucket", model="uhd", le="2.0") < server.metric(
            "foveal_batch_size_bucket", model="uhd", le="4.0"
        )


def test_a_picture_is_encoded_once(model):
    def ask(server, image):
        return server.client().chat.completions.create(model="uhd", messages=asked("What?", image)).choices[0].message

    def encoded(server):
        return server.metric("foveal_pictures_total", model="uhd", **{"from": "encoded"})

    with running({"uhd": model}) as kept, running({"uhd": model}, cache_bytes=0) as unkept:
        first = ask(kept, picture()).content
        views = encoded(kept)
        assert ask(kept, picture()).content == first == ask(unkept, picture()).content == ask(unkept, picture()).content
        assert encoded(kept) == views
        assert encoded(unkept) == 2 * views
        ask(kept, picture(seed=3))
        assert encoded(kept) == 2 * views


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
        assert server.client().chat.completions.create(model="uhd", messages=asked("And?")).choices
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


def test_two_checkpoints(model):
    other = tiny_model(seed=9)
    with running({"one": model, "two": other}) as server:
        client = server.client()
        assert [each.id for each in client.models.list()] == ["one", "two"]
        assert client.models.retrieve("two").id == "two"
        for name, each in (("one", model), ("two", other)):
            given = client.chat.completions.create(model=name, messages=asked("What?", picture()), max_tokens=9)
            assert given.model == name
            assert given.choices[0].message.content == answer(each, picture(), "What?", max_new_tokens=9)


def test_a_language_model_that_none_can_join(monkeypatch):
    """Whoever comes later waits for the end of the batch, and is answered as alone."""
    model = tiny_model()
    monkeypatch.setattr("foveal.models.generation.running_batch.joins", lambda _: False)
    with running({"uhd": model}) as server, ThreadPoolExecutor(4) as pool:

        def ask(question):
            text, pictures = question
            given = server.client().chat.completions.create(model="uhd", messages=asked(text, *pictures), max_tokens=12)
            return given.choices[0].message.content

        answers = list(pool.map(ask, QUESTIONS))
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


def test_metrics_are_prometheus(served):
    served.client().chat.completions.create(model="uhd", messages=asked("What?", picture()))
    text = httpx.get(f"{served.url}/metrics").text
    for name in ("foveal_answers_total", "foveal_tokens_total", "foveal_first_token_seconds_bucket", "foveal_waiting"):
        assert f"{name}{{" in text
    assert 'kind="visual",model="uhd"' in text
    assert data_url(picture()) not in text


def test_the_client_of_the_docs(model, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[1] / "docs/serve.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, flags=re.S | re.M)
    monkeypatch.chdir(tmp_path)
    picture().save("page.png")
    with running({"uhd/version_0": model}) as server:
        exec(block.replace("http://127.0.0.1:8000", server.url), {})
    assert capsys.readouterr().out == answer(model, picture(), "Read.", max_new_tokens=64)

"""What a server refuses: one error object, 4xx, and no word about the machine."""

import json
from pathlib import Path

import httpx
import openai
import pytest
from PIL import Image
from tests.serving import asked, data_url, encoded, picture, running, tiny_model
from tools.bench.malformed import malformed

from foveal.models import Processor, image_size
from recipes.serving import pictures, prompts

QUESTION = {"model": "uhd", "messages": asked("What?", picture())}


@pytest.fixture(scope="module")
def served():
    with running({"uhd": tiny_model()}) as server:
        yield server


def post(server, body, **options):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | options.pop("headers", {})
    return httpx.post(f"{server.url}/v1/chat/completions", content=content, headers=headers, timeout=20, **options)


@pytest.mark.parametrize(
    ("change", "param", "message"),
    [
        ({"n": 2}, "n", "n: only 1 is supported"),
        ({"logprobs": True}, "logprobs", "logprobs: only false is supported"),
        ({"tools": [{}]}, "tools", "tools: only [] is supported"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "only 0 is supported"),
        ({"response_format": {"type": "json_object"}}, "response_format", "only text is supported"),
        ({"best_of": 2}, "best_of", "no such parameter, or it is not supported"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"temperature": 1e-9}, "temperature", "must be 0"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": "9"}, "max_tokens", "valid integer"),
        ({"max_tokens": 9, "max_completion_tokens": 9}, "max_tokens", "not both"),
        ({"max_tokens": 10**6}, "messages", "exceed the model's context of 600"),
        ({"stop": ["a"] * 5}, "stop", "at most 4 items"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "belong to a request with stream"),
        ({"messages": []}, "messages", "at least 1 item"),
        ({"messages": asked("a" * 5000)}, "messages", "500"),
        ({"messages": asked("a\ud800")}, "messages", "half a character"),
        ({"messages": asked("Where is <image>?")}, "messages[0].content[0]", "stands for a picture"),
        ({"messages": [{"role": "assistant", "content": "Yes."}]}, "messages", "they must take turns"),
        ({"messages": [*asked("a"), {"role": "system", "content": "b"}]}, "messages[1].role", "comes first"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role", "Input should be"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "valid list"),
    ],
)
def test_parameters(served, change, param, message):
    answer = post(served, QUESTION | change)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert message in error["message"]
    assert len(error["message"]) < 400


def with_url(url):
    part = {"type": "image_url", "image_url": {"url": url}}
    return QUESTION | {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}]}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://example.com/a.png", "not fetched from anywhere: give it as a data: URL"),
        ("file:///etc/passwd", "not fetched"),
        ("/etc/passwd", "not fetched"),
        ("data:text/plain;base64,aGk=", "not understood"),
        ("data:image/png;base64,???", "not base64"),
        ("data:image/png;base64,aGk=", "not a picture of a known kind"),
        ("data:image/png;base64,", "not a picture of a known kind"),
        (data_url(picture())[:-41], "not base64"),
        (data_url(picture())[:-400], "cannot be read (the file ends inside of its pixels)|damaged"),
        (data_url(Image.new("1", (8000, 8000))), "more than the limit of 50000000"),
        ("data:image/png;base64," + "A" * 27_000_000, "more than 20 MB"),
    ],
)
def test_pictures(served, url, message):
    answer = post(served, with_url(url))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "messages[0].content[0].image_url.url"
    assert any(part in error["message"] for part in message.split("|"))
    assert len(error["message"]) < 300


def test_all_pictures_of_a_request_have_one_limit(served):
    """A small file may have many pixels; each of these alone would be decoded."""
    url = data_url(Image.new("1", (5500, 5500)))
    parts = [{"type": "image_url", "image_url": {"url": url}}] * 2
    answer = post(served, QUESTION | {"messages": [{"role": "user", "content": parts}]})
    assert answer.status_code == 400
    assert "60500000 pixels in all" in answer.json()["error"]["message"]


def many(number, url):
    """A question about one picture many times."""
    parts = [{"type": "image_url", "image_url": {"url": url}}] * number
    return QUESTION | {"messages": [{"role": "user", "content": parts}]}


def test_the_first_too_many_pixels_end_the_reading(served, monkeypatch):
    """A PNG with text after its pixels is decoded to be measured, and one request may have thousands."""
    measured = []
    monkeypatch.setattr(prompts, "image_size", lambda data: measured.append(data) or image_size(data))
    answer = post(served, many(9, data_url(Image.new("1", (5500, 5500)))))
    assert answer.status_code == 400
    assert len(measured) == 2


def test_more_pictures_than_a_prompt_has_tokens(served, monkeypatch):
    monkeypatch.setattr(prompts, "image_size", lambda _: pytest.fail("a picture was opened"))
    monkeypatch.setattr(pictures, "written_out", lambda *_: pytest.fail("a picture was decoded"))
    answer = post(served, many(501, data_url(picture())))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"] == "the request has 501 pictures, a prompt may have 500 tokens: give fewer"
    assert (error["param"], error["code"]) == ("messages", "context_length_exceeded")


def test_pictures_with_more_tokens_than_a_prompt(served, monkeypatch):
    """Their ids, some for each of thousands of pictures, are not made."""
    monkeypatch.setattr(Processor, "picture_ids", lambda *_: pytest.fail("ids were made"))
    answer = post(served, many(500, data_url(picture())))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert "the first 26 pictures have 520 visual tokens, a prompt may have 500 tokens" in error["message"]
    assert error["code"] == "context_length_exceeded"


def test_a_request_that_is_too_large(served):
    answer = post(served, b"[" * 65_000_000)
    assert answer.status_code == 413
    # Also where the length is not known before.
    pieces = (b"[" * 1_000_000 for _ in range(65))
    answer = httpx.post(f"{served.url}/v1/chat/completions", content=pieces, timeout=20)
    assert answer.status_code == 413


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[" * 100_000, b"\xff\xfe", b'{"model": "\\ud800"}', b"NaN"])
def test_what_is_no_json(served, body):
    answer = post(served, body)
    assert answer.status_code == 400
    assert "error" in answer.json()


def test_routes(served):
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/docs", 404),
    ):
        answer = httpx.request(method, served.url + path)
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-4'; there are uhd"):
        served.ask("What?", model="gpt-4")


def test_a_key():
    with running({"uhd": tiny_model()}, key="secret") as server:
        assert server.client("secret").models.list().data
        with pytest.raises(openai.AuthenticationError, match="the API key is missing or wrong"):
            server.client("wrong").chat.completions.create(model="uhd", messages=asked("What?"))
        for headers in (
            {},
            {"authorization": "Basic secret"},
            {"authorization": "Bearer"},
            {"authorization": "Bearer é"},
        ):
            encoded = {name: value.encode() for name, value in headers.items()}
            assert httpx.get(f"{server.url}/metrics", headers=encoded).status_code == 401
        assert httpx.get(f"{server.url}/health").status_code == 200
        for path in ("/", "/health", "/v1/chat/completions"):
            assert httpx.post(f"{server.url}{path}", content=b"x" * 100_000).status_code == 401


def test_a_page_of_another_site(served):
    """A browser sends its form or its text without asking the server before."""
    refused = post(served, QUESTION, headers={"sec-fetch-site": "cross-site"})
    assert refused.status_code == 403
    assert refused.json()["error"]["message"].startswith("a web page of another site asks")
    url = f"{served.url}/v1/chat/completions"
    for headers in ({}, {"content-type": "text/plain"}):
        assert httpx.post(url, content=json.dumps(QUESTION).encode(), headers=headers).status_code == 400
    assert post(served, QUESTION, headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_other_names_of_the_server():
    """A page in a browser could otherwise reach the user's own server by a name that it makes point there."""
    with running({"uhd": tiny_model()}, hosts=("127.0.0.1", "localhost", "[::1]")) as server:
        assert httpx.get(f"{server.url}/health", headers={"host": "evil.example.com"}).status_code == 421
        for host in ("localhost:80", "[::1]:8000", "127.0.0.1"):
            assert httpx.get(f"{server.url}/health", headers={"host": host}).status_code == 200


def test_malformed_requests(served):
    """A hundred that `tools.bench.serving` sends a thousand of."""
    here = str(Path(__file__).parents[1])
    with httpx.Client(timeout=20) as client:
        for number, body in enumerate(malformed(100, "uhd", encoded(picture()))):
            answer = client.post(
                f"{served.url}/v1/chat/completions", content=body, headers={"content-type": "application/json"}
            )
            assert 400 <= answer.status_code < 500, (number, body[:300], answer.text)
            assert here not in answer.text
            assert "Traceback" not in answer.text
    assert post(served, QUESTION).status_code == 200

"""The limits before the application: who may ask, how much at a time, and clients that take or send nothing."""

import asyncio
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from recipes.serving import limits
from recipes.serving.app import make_app
from recipes.serving.errors import RefusedError
from recipes.serving.fetching import Fetcher
from recipes.serving.limits import Guard, State
from recipes.serving.metrics import Metrics

SCOPE = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}


def guard(app, state, **options):
    return Guard(app, state=state, metrics=Metrics(), **({"max_requests": 1} | options))


async def whole_body():
    return {"type": "http.request", "body": b"{}", "more_body": False}


async def never(*_):
    await asyncio.sleep(60)


def status_of(guarded, *, receive=whole_body, headers=(), **scope):
    """The status of the response to a request."""
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(guarded(SCOPE | {"headers": list(headers)} | scope, receive, send))
    return sent[0]["status"]


async def done(scope, receive, send):
    await RefusedError(405, "no question").response()(scope, receive, send)


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", *limits.POSTED])
def test_whatever_is_posted_needs_the_key(path):
    guarded = guard(done, State(), key="secret")
    assert status_of(guarded, path=path) == 401
    assert status_of(guarded, path=path, headers=[(b"authorization", b"Bearer secret")]) == 405


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/views\n"])
def test_what_is_posted_elsewhere_is_not_read_and_takes_no_place(path):
    state, seen = State(), []

    async def app(scope, receive, send):
        seen.append((state.active, await receive()))
        await done(scope, receive, send)

    assert status_of(guard(app, state, max_requests=0), path=path, receive=never) == 405
    assert seen == [(0, {"type": "http.request", "body": b"", "more_body": False})]


def test_paths_of_questions_are_those_of_the_application():
    metrics, state = Metrics(), State()
    app = make_app({}, max_new_tokens=8, fetcher=Fetcher(), metrics=metrics, state=state)
    posted = {path for path, methods in app.openapi()["paths"].items() if "post" in methods}
    assert posted == set(limits.POSTED)


def test_a_page_of_another_site_is_refused():
    """It could make the user's own server work, although it could not read the answers."""
    for site, status in ((b"cross-site", 403), (b"same-origin", 405), (b"none", 405)):
        assert status_of(guard(done, State()), headers=[(b"sec-fetch-site", site)]) == status
    assert status_of(guard(done, State()), headers=[(b"sec-fetch-site", b"cross-site")], method="GET") == 405


def test_versions_of_fastapi_that_read_any_content_as_json_are_not_admitted():
    """A web page may send a text to any server without asking it before, but no JSON (fastapi 0.132.0)."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    (fastapi,) = (each for each in project["optional-dependencies"]["serve"] if each.startswith("fastapi"))
    assert not Requirement(fastapi).specifier.contains("0.131.0")


def test_the_bodies_of_all_requests_have_a_limit(monkeypatch):
    monkeypatch.setattr(limits, "MAX_BODIES", 50)
    state, sizes = State(), []

    def of(size):
        pieces = [b"x" * (size // 2), b"x" * (size - size // 2)]

        async def receive():
            # It fails after the last piece, where it would wait until the client leaves.
            return {"type": "http.request", "body": pieces.pop(), "more_body": bool(pieces)}

        return receive

    async def app(scope, receive, send):
        sizes.append(state.body_bytes)
        if len(sizes) == 1:
            found = [await asyncio.to_thread(status_of, guarded, receive=of(size)) for size in (11, 10)]
            assert found == [429, 405]
        await done(scope, receive, send)

    guarded = guard(app, state, max_requests=3)
    assert status_of(guarded, receive=of(40)) == 405
    assert sizes == [40, 50]
    assert (state.active, state.body_bytes) == (0, 0)


def test_the_place_of_a_body_that_was_refused_is_free_again(monkeypatch):
    monkeypatch.setattr(limits, "MAX_BODY", 1)
    state = State()
    assert status_of(guard(done, state)) == 413
    assert (state.active, state.body_bytes) == (0, 0)


def test_a_client_that_takes_nothing_frees_its_place(monkeypatch):
    monkeypatch.setattr(limits, "SEND_SECONDS", 0.05)
    state, ended = State(), []

    async def app(scope, receive, send):
        try:
            await RefusedError(400, "long").response()(scope, receive, send)
        finally:
            ended.append(state.active)

    asyncio.run(guard(app, state)(SCOPE, whole_body, never))
    assert ended == [1]
    assert state.active == 0


@pytest.mark.parametrize("more", [True, False])
def test_a_client_that_sends_nothing_is_told(monkeypatch, more):
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.05)
    state, sent, pieces = State(), [], [{"type": "http.request", "body": b"{", "more_body": True}] * more

    async def receive():
        return pieces.pop() if pieces else await never()

    async def send(message):
        sent.append(message)

    asyncio.run(guard(never, state)(SCOPE, receive, send))
    assert sent[0]["status"] == 408
    assert state.active == 0


def test_a_client_that_leaves_while_it_asks():
    state = State()

    async def receive():
        return {"type": "http.disconnect"}

    asyncio.run(guard(never, state)(SCOPE, receive, never))
    assert (state.active, state.body_bytes) == (0, 0)

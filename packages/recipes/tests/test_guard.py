"""The limits before the application: clients that take or send nothing."""

import asyncio

import pytest

from recipes.serving import limits
from recipes.serving.errors import RefusedError
from recipes.serving.limits import Guard, State
from recipes.serving.metrics import Metrics

SCOPE = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}


def guard(app, state):
    return Guard(app, state=state, metrics=Metrics(), max_requests=1)


async def whole_body():
    return {"type": "http.request", "body": b"{}", "more_body": False}


async def never(*_):
    await asyncio.sleep(60)


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
    assert state.active == 0

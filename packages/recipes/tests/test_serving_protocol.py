"""A connection on which no request arrives is closed; one with a request is not."""

import asyncio
import socket
import threading
import time
from contextlib import closing

import pytest

from recipes.serving import protocol
from recipes.serving.limits import State
from recipes.serving.server import Server

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await asyncio.sleep(0.3)  # longer than a request may take to arrive
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})

    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(app, State())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(20)


def connected(port):
    return closing(socket.create_connection(("127.0.0.1", port), timeout=10))


@pytest.mark.parametrize("sent", [b"", HEAD, b"G"])
def test_what_never_becomes_a_request(port, sent):
    with connected(port) as client:
        client.sendall(sent)
        assert client.recv(100) == b""


def test_requests_one_after_the_other_then_half_of_one(port):
    with connected(port) as client:
        for _ in range(2):
            client.sendall(HEAD + b"\r\n")
            received = b""
            while not received.endswith(b"ok"):
                received += client.recv(1000)
            time.sleep(0.15)  # a connection that is kept waits longer for the next
        client.sendall(HEAD)
        assert client.recv(100) == b""


@pytest.mark.parametrize("length", [1, 1_000_000])
def test_the_rest_of_a_request_that_has_been_answered(port, length):
    """uvicorn's own clock ends with the next byte."""
    with connected(port) as client:
        client.sendall(HEAD + f"Content-Length: {length}\r\n\r\n".encode())
        received = b""
        while not received.endswith(b"ok"):
            received += client.recv(1000)
        client.sendall(b"x")
        assert client.recv(100) == b""

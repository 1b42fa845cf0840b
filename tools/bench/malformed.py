"""Requests for chat completions that no server should answer, made from a good one."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0.5,
    1e300,
    "",
    "\x00",
    "😀" * 50,
    [],
    [[]],
    {},
    {"a": {}},
    [None],
    "data:,",
    "../../etc/passwd",
)
"""Values that are wrong almost everywhere."""


def malformed(number: int, model: str, picture: bytes) -> Iterator[bytes]:
    """Bodies of requests, each with one thing wrong; the same ones every time.

    Args:
        number: how many.
        model: name of a model that is served.
        picture: a good one, as a PNG.
    """
    draw = random.Random(0)
    ways: tuple[Callable[[random.Random, str, bytes], bytes], ...] = (
        _cut_json,
        _odd_value,
        _unknown_name,
        _broken_picture,
        _broken_base64,
        _odd_address,
        _odd_turns,
        _odd_bytes,
    )
    for each in range(number):
        yield ways[each % len(ways)](draw, model, picture)


def good(model: str, picture: bytes) -> dict[str, Any]:
    """A request that is answered."""
    url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Read."}]
    return {"model": model, "messages": [{"role": "user", "content": parts}], "max_tokens": 8}


def _cut_json(draw: random.Random, model: str, picture: bytes) -> bytes:
    body = json.dumps(good(model, picture)).encode()
    return body[: draw.randrange(len(body))]


def _odd_value(draw: random.Random, model: str, picture: bytes) -> bytes:
    """A value of another kind in a place that has no use for it."""
    body = good(model, picture)
    message = body["messages"][0]
    places: tuple[tuple[Any, Any], ...] = (
        (body, "model"),
        (body, "messages"),
        (message, "role"),
        (message["content"], 0),
        (message["content"][0], "type"),
        (message["content"][0], "image_url"),
        (message["content"][0]["image_url"], "url"),
    )
    inside, key = draw.choice(places)
    inside[key] = draw.choice(ODD)
    return json.dumps(body).encode()


def _unknown_name(draw: random.Random, model: str, picture: bytes) -> bytes:
    body = good(model, picture)
    inside: dict[str, Any] = draw.choice([body, body["messages"][0], body["messages"][0]["content"][1]])
    inside["".join(draw.choices("abcdefg_", k=9))] = draw.choice(ODD)
    return json.dumps(body).encode()


def _broken_picture(draw: random.Random, model: str, picture: bytes) -> bytes:
    """A picture that ends early, or begins wrong."""
    cut = picture[: draw.randrange(len(picture) - 13)]
    return json.dumps(good(model, draw.choice([cut, draw.randbytes(16) + picture[16:]]))).encode()


def _broken_base64(draw: random.Random, model: str, picture: bytes) -> bytes:
    body = good(model, picture)
    part = body["messages"][0]["content"][0]["image_url"]
    place = draw.randrange(30, len(part["url"]) - 3)
    part["url"] = part["url"][:place] + draw.choice("!?%\n\x00é ") + part["url"][place + 1 :]
    return json.dumps(body).encode()


def _odd_address(draw: random.Random, model: str, picture: bytes) -> bytes:
    body = good(model, picture)
    addresses = (
        "http://127.0.0.1/",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "/etc/passwd",
        "https://[::1]:99999/",
        "http://localhost:22",
        "gopher://a",
        "data:image/png,x",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "://",
        "\\\\a\\b",
    )
    body["messages"][0]["content"][0]["image_url"]["url"] = draw.choice(addresses)
    return json.dumps(body).encode()


def _odd_turns(draw: random.Random, model: str, picture: bytes) -> bytes:
    """Messages in an order that no conversation has."""
    body = good(model, picture)
    (user,) = body["messages"]
    answer, system = {"role": "assistant", "content": "Yes."}, {"role": "system", "content": "Be brief."}
    orders = ([answer], [user, user], [user, answer], [user, system], [system], [answer, user], [user, answer, answer])
    body["messages"] = draw.choice(orders)
    return json.dumps(body).encode()


def _odd_bytes(draw: random.Random, model: str, picture: bytes) -> bytes:
    return draw.choice(
        [draw.randbytes(200), b"[" * draw.randrange(1, 50_000), b'{"model": 1e999999}', b"\xef\xbb\xbf{}"]
    )
